"""Messages of the same error are the same in normal form, although numbers and names differ.

The rules are those of the crate aggregator-protocol (crates/protocol/src/grouping.rs), which
explains them: `agg pipe error` and `agg listen` compute the keys of errors with it. Both are tested
with the messages of crates/protocol/tests/data/grouping.tsv. All patterns take linear time.
"""

from __future__ import annotations

import re

_MAX_CHARS = 4096
_MAX_KEY = 256
_PLACEHOLDER = "<*>"
_HASH = 17
# The maximum number of characters between two parts that are one.
_MAX_JOINT = 3
# A path with this many parts below its first folder is one of the file system.
_FOLDERS = 3
# A segment with this many words with digits varies as a whole.
_MANY = 3

# Characters beyond ASCII are letters.
_WORD = r"0-9A-Za-z\x80-\U0010ffff"
_SPACES = re.compile(r"[\x00-\x20\x7f]+")
_CHUNK = re.compile(r"[^\x00-\x20\x7f\"'`()\[\]{}<>,;=|]+")
_URL = re.compile(r"[^\x00-\x20\x7f\"'`)\]}<>|]+")
_WORDS_AND_OTHERS = re.compile(rf"([^{_WORD}]*)([{_WORD}]*)")
_TRIMMED = re.compile(rf"[^{_WORD}]*((?:[^{_WORD}]*[{_WORD}]+)*)")
_WORDS = re.compile(rf"[{_WORD}]+")
_IS_WORD = re.compile(rf"[{_WORD}]").match
_IS_INSIDE = re.compile(rf"[{_WORD}_\\]").match
_CONTINUES = re.compile(rf"[{_WORD}_]").match
_CLOSING = {quote: re.compile(rf"(?<!\\){quote}") for quote in "\"'`"}
_DIGIT = re.compile("[0-9]")
_NUMBER_IN_WORD = re.compile("([^0-9]*)([0-9]+)(.*)", re.DOTALL)
_IS_HEX = re.compile("[0-9A-Fa-f]+").fullmatch
_IS_HEX_SEGMENT = re.compile("[-0-9A-Fa-f:.]+").fullmatch
_IS_JOINT = re.compile("[-,.:;_/+~]*").fullmatch
_IS_DRIVE_OR_SHARE = re.compile(r"\\\\.|~/|[A-Za-z]:[\\/]", re.DOTALL).match
_HAS_EXTENSION = re.compile(r"[^/]\.[A-Za-z][A-Za-z0-9]{0,4}\Z").search
_IS_BASE64 = re.compile(
    "(?=[^0-9]*[0-9])(?=[^A-Z]*[A-Z])(?=[^a-z]*[a-z])[A-Za-z0-9+/]{32,}"
).fullmatch
_IPV4 = r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![0-9])"
_IS_IPV4 = re.compile(_IPV4).match
_IS_ADDRESS = re.compile(rf" ?\[{_IPV4}").match
_IS_LOCALHOST = re.compile("localhost(?::[0-9]*)?").fullmatch
_IS_HOST_NAME = re.compile(r"[-a-z0-9.]+\.([a-z]+)(?::[0-9]*)?").fullmatch


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_UNITS = _words(
    "B K M G T kB KB MB GB TB PB kb mb gb KiB MiB GiB TiB byte bytes Bytes ns us µs ms s m h d sec "
    "secs second seconds msec msecs usec millis milliseconds min mins minute minutes hr hrs hour "
    "hours day days st nd rd th AM PM UTC GMT Z"
)
_MONTHS = _words(
    "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec January February March April June July August "
    "September October November December"
)
_WEEKDAYS = _words(
    "Mon Tue Wed Thu Fri Sat Sun Monday Tuesday Wednesday Thursday Friday Saturday Sunday"
)
_AFTER_USER = _words(
    "is was not has had have does did do can cannot could may must will and or of on in by to for "
    "from at with without unknown name names id ids account accounts agent session sessions data "
    "input space mode request requests process processes program defined interface error database "
    "group groups table limit quota profile authentication login logged logout lookup service "
    "cancelled canceled aborted disconnected connected exceeded already no memory credentials "
    "password"
)
_VARYING_ATTRIBUTES = _words(
    "user ruser username logname uname login account owner host rhost hostname client server peer "
    "node pod container instance src dst source dest ip addr address mac file filename path dir "
    "url uri tty dev device id uid gid pid tid sid session token host.name"
)
_ROOT_FOLDERS = _words(
    "bin boot data etc export home lib lib64 media mnt net nfs opt private proc root run sbin "
    "scratch srv sys tmp usr var Applications Library System Users user Volumes Windows"
)
_BEFORE_ADDRESS = _words("address at by client for from host of on peer server to via with")
_METHODS = _words("GET HEAD POST PUT PATCH DELETE OPTIONS")
_BOOLEANS = _words("true false True False")
_TOP_DOMAINS = _words(
    "com net org edu gov mil info biz io arpa local lan internal localdomain de fr uk nl es ru cn "
    "jp kr tw br ca au ch se eu"
)


def normalize_message(message: str) -> str:
    """Replaces the parts of a message that vary between occurrences of the same error.

    >>> print(normalize_message("order 4711 of 10.1.2.3:5432 took 1.5s at 0x7f3a2b"))
    order <*> of <*> took <*> at <*>
    >>> print(normalize_message("no session 5f2c9a1e-0b1d-4c3e-9f00-aabbccddeeff on sda1"))
    no session <*> on sda<*>
    >>> print(normalize_message("/orders/17 of user bob: cannot read '/etc/a.conf'"))
    /orders/<*> of user <*>: cannot read <*>
    """
    return _Scanner(message[:_MAX_CHARS]).normalize()


def message_key(message: str) -> str:
    """Returns the key that `agg pipe error` and `agg listen` compute of a message.

    >>> print(message_key("order 17 lost"))
    order <*> lost
    """
    key = normalize_message(message) or "<empty>"
    encoded = key.encode("utf-8", "surrogatepass")
    if len(encoded) <= _MAX_KEY:
        return key
    start = encoded[: _MAX_KEY - _HASH].decode("utf-8", "ignore")
    return f"{start}~{_fnv1a(encoded):016x}"


def _fnv1a(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


class _Output:
    """The normal form so far."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        # Spaces were read after the text.
        self.space = False
        # The number of parts at the last placeholder.
        self.masked = -1
        # The first and the last part of the last chunk.
        self.chunk = (0, 0)

    def _flush(self) -> None:
        if self.space and self.parts:
            self.parts.append(" ")
        self.space = False

    def push(self, text: str) -> None:
        if text:
            self._flush()
            self.parts.append(text)

    def mask(self) -> None:
        if self.masked >= 0 and self._joins():
            del self.parts[self.masked :]
            self.space = False
        else:
            self._flush()
            self.parts.append(_PLACEHOLDER)
            self.masked = len(self.parts)

    def _joins(self) -> bool:
        """Returns whether a placeholder that follows now is the same as the last one."""
        if len(self.parts) - self.masked > _MAX_JOINT:
            return False
        between = "".join(self.parts[self.masked :])
        if self.space:
            return between in ("", ",")
        return len(between) <= _MAX_JOINT and _IS_JOINT(between) is not None

    def end_chunk(self, start: int) -> None:
        """Ends a chunk. An item of a list that looks like the one before is dropped."""
        if start < len(self.parts) and self.parts[start] == " ":
            start += 1
        if start >= len(self.parts):
            return
        previous, end = self.chunk
        chunk = "".join(self.parts[start:])
        is_list = start - end <= 2 and "".join(self.parts[end:start]) in (" ", ",", ", ")
        if is_list and _PLACEHOLDER in chunk and "".join(self.parts[previous:end]) == chunk:
            self.masked -= len(self.parts) - end
            del self.parts[end:]
        else:
            self.chunk = (start, len(self.parts))

    def ends_masked(self) -> bool:
        return not self.space and self.masked == len(self.parts)


class _Scanner:
    """Normalizes a message: spaces, quoted texts, delimiters, and chunks of words."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.output = _Output()
        # The chunk before, and where it ended, if only spaces followed.
        self.previous = ""
        self.previous_end = 0
        # Only spaces followed a number.
        self.after_number = False
        # The character before is the "=" of an attribute that varies.
        self.is_value = False
        # The last two characters that are no spaces, the newer last.
        self.last = ("", "")
        # The end of a quoted text whose content is not masked.
        self.closing = -1
        # Quotes that do not occur any more.
        self.missing: set[str] = set()

    def normalize(self) -> str:
        text = self.text
        while self.at < len(text):
            if spaces := _SPACES.match(text, self.at):
                self.output.space = True
                self.is_value = False
                self.at = spaces.end()
            elif chunk := _CHUNK.match(text, self.at):
                self._chunk(chunk[0], chunk.end())
            elif text[self.at] in _CLOSING:
                self._quote(text[self.at])
            else:
                self._delimiter(text[self.at])
        return "".join(self.output.parts)

    def _advance(self, to: int) -> None:
        """Continues after something that is neither a space nor a chunk."""
        self.previous = ""
        self.after_number = self.is_value = False
        self.last = (self.last[1], self.text[to - 1])
        self.at = to

    def _delimiter(self, char: str) -> None:
        is_value = (
            char == "=" and self.previous_end == self.at and _is_varying_attribute(self.previous)
        )
        self.output.push(char)
        self._advance(self.at + 1)
        self.is_value = is_value

    def _quote(self, quote: str) -> None:
        end = self._closing_quote(quote)
        if end >= 0 and not self._is_structure(end):
            self.output.mask()
            self._advance(end + 1)
        else:
            self.closing = end if end >= 0 else self.closing
            self.output.push(quote)
            self._advance(self.at + 1)

    def _closing_quote(self, quote: str) -> int:
        """Returns the end of the quoted text that begins here, or -1 if none does."""
        is_inside = self.at > 0 and _IS_INSIDE(self.text, self.at - 1)
        if is_inside or self.at == self.closing or quote in self.missing:
            return -1
        found = _CLOSING[quote].search(self.text, self.at + 1)
        if found is None:
            self.missing.add(quote)
            return -1
        return -1 if _CONTINUES(self.text, found.end()) else found.start()

    def _is_structure(self, end: int) -> bool:
        """Returns whether the quoted text is a member or a value of JSON or logfmt."""
        before, last = self.last
        is_adjacent = self.at > 0 and self.text[self.at - 1] == last
        if last == "=":
            return is_adjacent and not self.is_value
        if last == ":":
            return is_adjacent or before in _CLOSING
        return last in ("{", ",") and self.text[end + 1 : end + 2] == ":"

    def _chunk(self, whole: str, end: int) -> None:
        if self._url(whole):
            return
        body = whole.rstrip(".:!?")
        tail = whole[len(body) :]
        is_unit = self.after_number and body in _UNITS
        is_number = False
        written = len(self.output.parts)
        if is_unit:
            self.output.space = False
        elif self._varies(body, end, not tail):
            self.output.mask()
        else:
            self._address(body)
            is_number = _DIGIT.match(body.lstrip("-+")) is not None
        self.output.end_chunk(written)
        is_number = is_number and not tail and self.output.ends_masked()
        self.output.push(tail)
        self._advance(end)
        self.after_number = is_number
        if not tail and not is_unit:
            self.previous, self.previous_end = body, end

    def _url(self, chunk: str) -> bool:
        """Masks the URL that begins here, if one does."""
        scheme = chunk.find("://")
        if scheme <= 0 or not (chunk[scheme - 1].isascii() and chunk[scheme - 1].isalnum()):
            return False
        url = _URL.match(self.text, self.at)
        assert url is not None
        self.output.mask()
        self._advance(self.at + len(url[0].rstrip(".:!?,;")))
        return True

    def _varies(self, body: str, end: int, is_whole: bool) -> bool:
        """Returns whether a chunk varies as a whole, by its looks or by its surroundings."""
        if not body:
            return False
        is_user = self.previous.lower() == "user" and _IS_WORD(body) and body not in _AFTER_USER
        is_boolean = self.last[1] in (":", "=") and body in _BOOLEANS
        if self.is_value or is_user or is_boolean or self._looks_varying(body):
            return True
        if not is_whole:
            return False
        is_between = self.previous == "for" and self.text.startswith(" from ", end)
        is_name = body not in _BEFORE_ADDRESS and _IS_ADDRESS(self.text, end) is not None
        return is_between or is_name or self._begins_date(body, end)

    def _looks_varying(self, body: str) -> bool:
        is_base64 = _IS_BASE64(body.rpartition(":")[2]) is not None
        return is_base64 or _is_host_name(body) or _is_file_path(body, self.previous in _METHODS)

    def _begins_date(self, word: str, end: int) -> bool:
        """Returns whether a word is the name of a month or of a day before a number."""
        is_day = word in _WEEKDAYS
        if not is_day and word not in _MONTHS:
            return False
        if is_day and self.text.startswith(",", end):
            end += 1
        start = end
        while self.text.startswith(" ", end):
            end += 1
        is_number = _DIGIT.match(self.text, end) is not None
        return end > start and (is_number or (is_day and self.text[end : end + 3] in _MONTHS))

    def _address(self, body: str) -> None:
        """Writes a chunk that may be an e-mail address or an identity such as Foo@1b2c3d."""
        name, at, place = body.rpartition("@")
        if not (at and name and _IS_WORD(name[-1]) and _IS_WORD(place)):
            self._segments(body)
            return
        if len(place) <= 8 and _IS_HEX(place) and _DIGIT.search(place):
            self._segments(name)
            self.output.push("@")
        self.output.mask()

    def _segments(self, body: str) -> None:
        for index, segment in enumerate(body.split("/")):
            if index > 0:
                self.output.push("/")
            self._segment(segment)

    def _segment(self, segment: str) -> None:
        if not _DIGIT.search(segment):
            self.output.push(segment)
        elif _is_hex_segment(segment):
            self.output.mask()
        elif sum(1 for word in _WORDS.findall(segment) if _DIGIT.search(word)) >= _MANY:
            self._varying_segment(segment)
        else:
            is_after_word = False
            for between, word in _WORDS_AND_OTHERS.findall(segment):
                self._punctuation(between, word, is_after_word)
                self._word(word)
                is_after_word = True

    def _varying_segment(self, segment: str) -> None:
        trimmed = _TRIMMED.match(segment)
        assert trimmed is not None
        self._punctuation(segment[: trimmed.start(1)], trimmed[1], False)
        self.output.mask()
        self.output.push(segment[trimmed.end(1) :])

    def _punctuation(self, between: str, following: str, is_after_word: bool) -> None:
        """Writes what is between two words, without the sign of a number."""
        is_signed = _DIGIT.match(following) and (not is_after_word or len(between) > 1)
        has_sign = is_signed and between.endswith(("-", "+"))
        self.output.push(between[:-1] if has_sign else between)

    def _word(self, word: str) -> None:
        number = _NUMBER_IN_WORD.fullmatch(word)
        if number is None:
            self.output.push(word)
            return
        head, digits, tail = number.groups()
        is_hex = _IS_HEX(word) and (not head or len(word) >= 6)
        is_number = not head and (tail in _UNITS or (digits == "0" and tail.startswith("x")))
        if is_hex or is_number or _DIGIT.search(tail):
            self.output.mask()
            return
        self.output.push(head)
        self.output.mask()
        self.output.push(tail)


def _is_varying_attribute(name: str) -> bool:
    return name in _VARYING_ATTRIBUTES or name.endswith(("_id", "-id", "Id"))


def _is_hex_segment(segment: str) -> bool:
    is_port = segment.startswith(":") and not segment.startswith("::")
    if is_port or not _IS_HEX_SEGMENT(segment):
        return False
    return len(segment) >= 8 or ":" in segment or not segment[0].isalpha()


def _is_file_path(chunk: str, is_of_service: bool) -> bool:
    if _IS_DRIVE_OR_SHARE(chunk):
        return True
    folder, slash, rest = chunk.partition("/")
    if folder or chunk in ("", "/"):
        return slash != "" and _IS_IPV4(rest) is not None
    if is_of_service:
        return False
    folder, _, rest = chunk.lstrip("/").partition("/")
    return folder in _ROOT_FOLDERS or _is_deep(rest) or _HAS_EXTENSION(rest) is not None


def _is_deep(path: str) -> bool:
    """Returns whether a path has many parts, and none that is a number as in those of services."""
    parts = path.split("/")
    return len(parts) >= _FOLDERS and not any(part.isascii() and part.isdigit() for part in parts)


def _is_host_name(chunk: str) -> bool:
    name = _IS_HOST_NAME(chunk)
    if name is None:
        return _IS_LOCALHOST(chunk) is not None
    return name[1] in _TOP_DOMAINS

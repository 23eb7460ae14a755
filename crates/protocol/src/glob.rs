//! Patterns as in Redis's KEYS and SCAN: `*`, `?`, `[abc]`, `[^a]`, `[a-z]`, and `\` before a literal character. They
//! match bytes, not characters, and are case-sensitive.
//!
//! A pattern is compiled once and then passes over each text without backtracking: all ways to match advance together,
//! as the bits of a set. Backtracking to the last star, as Redis does, took pattern × text steps: 162 ms for a name of
//! 64 KB.

/// A compiled pattern of n elements. State i means that the first i elements have matched, so the states are 0 to n.
pub struct Glob {
    /// Words of a set of states.
    words: usize,
    /// For each byte the states whose next element accepts it: `words` words each.
    accepting: Box<[u64]>,
    /// The states that any byte leaves unchanged: a star follows there.
    staying: Box<[u64]>,
    /// The last state.
    end: usize,
}

impl Glob {
    /// Compiles a pattern.
    pub fn new(pattern: &[u8]) -> Glob {
        let mut stars = vec![false];
        let mut sets = Vec::new();
        let mut rest = pattern;
        while let Some(byte) = rest.first() {
            if *byte == b'*' {
                stars[sets.len()] = true;
                rest = &rest[1..];
                continue;
            }
            let (set, len) = element(rest);
            sets.push(set);
            stars.push(false);
            rest = rest.get(len..).unwrap_or_default();
        }
        let words = sets.len() / 64 + 1;
        let mut accepting = vec![0; 256 * words].into_boxed_slice();
        for (state, set) in sets.iter().enumerate() {
            for byte in set.iter() {
                insert(&mut accepting[byte * words..][..words], state);
            }
        }
        let mut staying = vec![0; words].into_boxed_slice();
        (0..stars.len())
            .filter(|state| stars[*state])
            .for_each(|state| insert(&mut staying, state));
        Glob {
            words,
            accepting,
            staying,
            end: sets.len(),
        }
    }

    /// Returns `true` if the whole text matches. `steps` grows by the work done: a step is about a nanosecond, and
    /// there are at most as many as bytes of the text for each 64 elements of the pattern, and one.
    pub fn matches(&self, text: &[u8], steps: &mut u64) -> bool {
        *steps += 1;
        match self.words {
            1 => self.run_short(text, steps),
            _ => self.run_long(text, steps),
        }
    }

    fn run_short(&self, text: &[u8], steps: &mut u64) -> bool {
        let (staying, end) = (self.staying[0], 1 << self.end);
        let mut states = 1u64;
        for (i, byte) in text.iter().enumerate() {
            states = (states & self.accepting[usize::from(*byte)]) << 1 | states & staying;
            // Nothing can match any more, or everything does.
            if states == 0 || states & staying & end != 0 {
                *steps += i as u64;
                return states != 0;
            }
        }
        *steps += text.len() as u64;
        states & end != 0
    }

    fn run_long(&self, text: &[u8], steps: &mut u64) -> bool {
        let words = self.words;
        let (end_word, end) = (self.end / 64, 1u64 << (self.end % 64));
        let mut states = vec![0u64; words];
        states[0] = 1;
        for (i, byte) in text.iter().enumerate() {
            let row = &self.accepting[usize::from(*byte) * words..][..words];
            let (mut carry, mut any) = (0, 0);
            for ((state, accepting), staying) in states.iter_mut().zip(row).zip(&self.staying) {
                let advancing = *state & accepting;
                *state = advancing << 1 | carry | *state & staying;
                carry = advancing >> 63;
                any |= *state;
            }
            if any == 0 || states[end_word] & self.staying[end_word] & end != 0 {
                *steps += (i * words) as u64;
                return any != 0;
            }
        }
        *steps += (text.len() * words) as u64;
        states[end_word] & end != 0
    }
}

/// Adds a state to a set.
fn insert(set: &mut [u64], state: usize) {
    if let Some(word) = set.get_mut(state / 64) {
        *word |= 1 << (state % 64);
    }
}

/// A set of bytes.
#[derive(Clone, Copy, Default)]
struct Bytes([u128; 2]);

impl Bytes {
    fn add(&mut self, byte: u8) {
        self.0[usize::from(byte >> 7)] |= 1 << (byte & 127);
    }

    fn iter(self) -> impl Iterator<Item = usize> {
        let bits = |half: u128| {
            let lowest_cleared = |left: &u128| Some(left & (left - 1)).filter(|left| *left != 0);
            std::iter::successors(Some(half).filter(|half| *half != 0), lowest_cleared)
        };
        let low = bits(self.0[0]).map(|left| left.trailing_zeros() as usize);
        low.chain(bits(self.0[1]).map(|left| 128 + left.trailing_zeros() as usize))
    }

    fn inverted(self) -> Bytes {
        Bytes(self.0.map(|half| !half))
    }
}

/// Returns what the element at the start of the pattern accepts, and its length.
fn element(pattern: &[u8]) -> (Bytes, usize) {
    let mut set = Bytes::default();
    let len = match pattern {
        [b'?', ..] => return (set.inverted(), 1),
        [b'[', rest @ ..] => {
            let (set, len) = in_brackets(rest);
            return (set, len + 1);
        }
        [b'\\', literal, ..] => {
            set.add(*literal);
            2
        }
        [literal, ..] => {
            set.add(*literal);
            1
        }
        [] => 0,
    };
    (set, len)
}

/// Returns the set after a bracket, and its length with the closing bracket. As in Redis, a set that is not closed ends
/// with the pattern, and a range may be given in either order.
fn in_brackets(text: &[u8]) -> (Bytes, usize) {
    let negated = text.first() == Some(&b'^');
    let mut i = usize::from(negated);
    let mut set = Bytes::default();
    while let Some(&first) = text.get(i) {
        match (first, text.get(i + 1), text.get(i + 2)) {
            (b'\\', Some(&literal), _) => {
                set.add(literal);
                i += 2;
            }
            (b']', ..) => {
                i += 1;
                break;
            }
            (low, Some(b'-'), Some(&high)) => {
                (low.min(high)..=low.max(high)).for_each(|byte| set.add(byte));
                i += 3;
            }
            (literal, ..) => {
                set.add(literal);
                i += 1;
            }
        }
    }
    (if negated { set.inverted() } else { set }, i)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &[u8], text: &[u8]) -> bool {
        Glob::new(pattern).matches(text, &mut 0)
    }

    #[test]
    fn patterns_match_as_in_redis() {
        for (pattern, text, is) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("[\\]]", "]", true),
            ("[abc", "b", true),
            ("\\", "\\", true),
            ("disk.*@sd?", "disk.iops@sda", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                is,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn many_stars_take_linear_time() {
        assert!(!matches("a*".repeat(500).as_bytes(), &[b'a'; 400]));
        assert!(matches(&[b'*'; 10_000], &[b'a'; 10_000]));
    }

    #[test]
    fn steps_are_linear_in_the_text_and_in_the_pattern() {
        let text = vec![b'a'; 64 << 10];
        for pattern in [
            format!("*{}b", "a".repeat(1000)),
            format!("*{}b", "a*".repeat(500)),
            format!("*{}b", "?".repeat(1000)),
            format!("*{}b", "[a-z]".repeat(200)),
            format!("{}b", "*a?".repeat(300)),
        ] {
            let mut steps = 0;
            assert!(!Glob::new(pattern.as_bytes()).matches(&text, &mut steps));
            let most = text.len() * (pattern.len() / 64 + 1) + 1;
            assert!(steps <= most as u64, "{steps} steps for {pattern}");
        }
        let mut steps = 0;
        assert!(Glob::new(b"aa*").matches(&text, &mut steps));
        assert!(!Glob::new(b"ab*").matches(&text, &mut steps));
        assert!(steps < 10, "{steps}");
    }

    #[test]
    fn long_patterns_match_across_words() {
        for len in [62, 63, 64, 65, 127, 128, 129, 1000] {
            let literal = "ab".repeat(len / 2 + 1)[..len].to_owned();
            for (pattern, before, after) in [
                (literal.clone(), "", ""),
                (format!("*{literal}"), "ab", ""),
                (format!("{literal}*"), "", "xy"),
                (format!("*{literal}*?"), "b", "z"),
            ] {
                let text = format!("{before}{literal}{after}");
                assert!(matches(pattern.as_bytes(), text.as_bytes()), "{len}");
                let other = text.replacen("ab", "aa", 30);
                assert!(!matches(pattern.as_bytes(), other.as_bytes()), "{len}");
            }
        }
    }

    /// The definition: after each element of the pattern, the ends of the texts that match so far.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        let mut ends = vec![false; text.len() + 1];
        ends[0] = true;
        let mut rest = pattern;
        while let Some(byte) = rest.first() {
            if *byte == b'*' {
                (1..ends.len()).for_each(|end| ends[end] |= ends[end - 1]);
                rest = &rest[1..];
                continue;
            }
            let accepts = |end: usize| ends[end] && one(rest, text[end]).is_some();
            let mut longer: Vec<bool> = (0..text.len()).map(accepts).collect();
            longer.insert(0, false);
            ends = longer;
            let len = (0..=255).find_map(|byte| one(rest, byte));
            // A set that accepts nothing.
            rest = &rest[len.unwrap_or(rest.len())..];
            if len.is_none() {
                return false;
            }
        }
        ends[text.len()]
    }

    /// Matches one byte against the element at the start of the pattern. Returns the length of the element if it
    /// matches.
    fn one(pattern: &[u8], byte: u8) -> Option<usize> {
        match pattern {
            [b'?', ..] => Some(1),
            [b'\\', literal, ..] => (*literal == byte).then_some(2),
            [b'[', set @ ..] => {
                let (is_in, len) = in_set(set, byte);
                is_in.then_some(len + 1)
            }
            [literal, ..] => (*literal == byte).then_some(1),
            [] => None,
        }
    }

    /// Returns whether a byte is in the set, and the length of the set with its closing bracket. As in Redis, a set
    /// that is not closed ends with the pattern, and a range may be given in either order.
    fn in_set(set: &[u8], byte: u8) -> (bool, usize) {
        let negated = set.first() == Some(&b'^');
        let mut i = usize::from(negated);
        let mut found = false;
        while let Some(&first) = set.get(i) {
            match (first, set.get(i + 1), set.get(i + 2)) {
                (b'\\', Some(&literal), _) => {
                    found |= literal == byte;
                    i += 2;
                }
                (b']', ..) => return (found != negated, i + 1),
                (low, Some(b'-'), Some(&high)) => {
                    found |= (low.min(high)..=low.max(high)).contains(&byte);
                    i += 3;
                }
                (literal, ..) => {
                    found |= literal == byte;
                    i += 1;
                }
            }
        }
        (found != negated, i)
    }

    proptest! {
        #[test]
        fn matches_agree_with_the_definition(pattern in "[ab*?]{0,8}", text in "[abc]{0,8}") {
            prop_assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), naive(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn sets_and_escapes_agree_with_the_definition(pattern in r"([ab*?\[\]\^\-\\]|\[\^?[a-c\-\]\\]{0,4}\]){0,8}", text in r"[abc\[\]\^\-\\]{0,8}") {
            prop_assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), naive(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn patterns_of_many_words_agree_with_the_definition(pattern in "(a{20,70}|[ab?]{1,3}|[*]){1,6}", text in "(a{20,70}|[ab]{1,3}){1,6}") {
            prop_assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), naive(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn any_pattern_comes_to_an_end(pattern: Vec<u8>, text: Vec<u8>) {
            matches(&pattern, &text);
        }
    }
}

//! Tests with examples of the RFCs, messages of common senders, and random input.

use proptest::prelude::*;

use super::*;
use crate::recorded::Recorded;

/// 2026-12-01T15:04:01Z.
const NOW: i64 = 1_796_137_441_000;

fn recorded(message: &[u8]) -> Recorded {
    let mut recorded = Recorded::default();
    parse(message, NOW, 0, &mut recorded);
    recorded
}

/// Checks that a message is this record, and nothing invalid.
fn is(message: &str, record: &str) {
    let found = recorded(message.as_bytes());
    assert_eq!(found.logs, [record], "{message}");
    assert_eq!(found.invalid, Vec::<String>::new(), "{message}");
}

fn ms(iso: &str) -> i64 {
    let (time, zone, rest) = time::iso(iso.as_bytes()).unwrap();
    assert!(rest.is_empty());
    time - zone.unwrap()
}

/// The examples of RFC 5424, section 6.5.
#[test]
fn examples_of_rfc_5424_are_read() {
    is(
        "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \u{feff}'su root' failed for lonvick on /dev/pts/8",
        &format!(
            "9 'su root' failed for lonvick on /dev/pts/8 app=su host=mymachine.example.com msgid=ID47 facility=auth at={}",
            ms("2003-10-11T22:14:15.003Z")
        ),
    );
    is(
        "<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time to make the do-nuts.",
        &format!(
            "4 %% It's time to make the do-nuts. app=myproc host=192.0.2.1 pid=8710 facility=local4 at={}",
            ms("2003-08-24T12:14:15Z")
        ),
    );
    let ending = format!("at={}", ms("2003-10-11T22:14:15.003Z"));
    let sdid = "exampleSDID@32473";
    let data = format!("{sdid}.iut=3 {sdid}.eventSource=Application {sdid}.eventID=1011");
    let header = "app=evntslog host=mymachine.example.com msgid=ID47 facility=local4";
    is(
        "<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 [exampleSDID@32473 iut=\"3\" \
         eventSource=\"Application\" eventID=\"1011\"] \u{feff}An application event log entry...",
        &format!("4 An application event log entry... {header} {data} {ending}"),
    );
    is(
        "<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 [exampleSDID@32473 iut=\"3\" \
         eventSource=\"Application\" eventID=\"1011\"][examplePriority@32473 class=\"high\"]",
        &format!("4  {header} {data} examplePriority@32473.class=high {ending}"),
    );
}

#[test]
fn rsyslog_sends_a_blank_before_the_message() {
    let record = |text: &str| format!("4 {text} app=app host=h facility=local4");
    is("<165>1 - h app - - -  started", &record("started"));
    is("<165>1 - h app - - -   indented", &record(" indented"));
}

/// The examples of RFC 3164, section 5.4. Its receivers take `CST` for a host and the last time for invalid; here zones
/// and years are read.
#[test]
fn examples_of_rfc_3164_are_read() {
    let failed = "'su root' failed for lonvick on /dev/pts/8";
    is(
        &format!("<34>Oct 11 22:14:15 mymachine su: {failed}"),
        &format!(
            "9 {failed} app=su host=mymachine facility=auth at={}",
            ms("2026-10-11T22:14:15Z")
        ),
    );
    is("Use the BFG!", "4 Use the BFG! facility=user");
    is(
        "<13>Feb  5 17:32:18 10.0.0.99 Use the BFG!",
        &format!(
            "4 Use the BFG! host=10.0.0.99 facility=user at={}",
            ms("2027-02-05T17:32:18Z")
        ),
    );
    let nuts =
        "%% It's time to make the do-nuts.  %%  Ingredients: Mix=OK, Jelly=OK # Devices: Mixer=OK";
    is(
        &format!("<165>Aug 24 05:34:00 CST 1987 mymachine myproc[10]: {nuts}"),
        &format!(
            "4 {nuts} app=myproc host=mymachine pid=10 facility=local4 at={}",
            ms("1987-08-24T05:34:00Z")
        ),
    );
    is(
        "<0>1990 Oct 22 10:52:01 TZ-6 scapegoat.dmz.example.org 10.1.2.3 sched[0]: That's All Folks!",
        &format!(
            "9 10.1.2.3 sched[0]: That's All Folks! host=scapegoat.dmz.example.org facility=kern at={}",
            ms("1990-10-22T16:52:01Z")
        ),
    );
}

#[test]
fn messages_of_common_senders_are_read() {
    let at = format!("at={}", ms("2026-10-11T22:14:15Z"));
    for (message, record) in [
        // rsyslog and syslog-ng, to a server.
        (
            "<38>Oct 11 22:14:15 web1 sshd[4711]: Failed password",
            "3 Failed password app=sshd host=web1 pid=4711 facility=auth",
        ),
        (
            "<22>Oct 11 22:14:15 mx postfix/smtpd[9]: connect from x[10.0.0.1]\n",
            "3 connect from x[10.0.0.1] app=postfix/smtpd host=mx pid=9 facility=mail",
        ),
        (
            "<4>Oct 11 22:14:15 web1 kernel: [  12.3] eth0: link down",
            "5 [  12.3] eth0: link down app=kernel host=web1 facility=kern",
        ),
        (
            "<46>Oct 11 22:14:15 web1 -- MARK --",
            "3 -- MARK -- host=web1 facility=syslog",
        ),
        (
            "<46>Oct 11 22:14:15 web1 last message repeated 5 times",
            "3 last message repeated 5 times host=web1 facility=syslog",
        ),
        (
            "<46>Oct 11 22:14:15 last message repeated 5 times",
            "3 last message repeated 5 times facility=syslog",
        ),
        // syslog(3), systemd, busybox and logger without a server.
        (
            "<30>Oct 11 22:14:15 systemd[1]: Started Session 5.",
            "3 Started Session 5. app=systemd pid=1 facility=daemon",
        ),
        (
            "<78>Oct 11 22:14:15 (systemd)[17]: a",
            "3 a app=(systemd) pid=17 facility=cron",
        ),
        (
            "<13>Oct 11 22:14:15 root: hello\0",
            "4 hello app=root facility=user",
        ),
        (
            "<13>Oct 11 22:14:15 box root: hello",
            "4 hello app=root host=box facility=user",
        ),
        (
            "<30>Oct 11 22:14:15 docker/5f2c9a1e[9]: GET /",
            "3 GET / app=docker/5f2c9a1e pid=9 facility=daemon",
        ),
        (
            "<86>Oct 11 22:14:15 h sshd(pam_unix)[9]: a: b",
            "3 a: b app=sshd(pam_unix) host=h pid=9 facility=authpriv",
        ),
        (
            "<134>Oct 11 22:14:15 haproxy[9]:x",
            "3 x app=haproxy pid=9 facility=local0",
        ),
        (
            "<134>Oct 11 22:14:15 h app[a.b/1] text",
            "3 text app=app host=h pid=a.b/1 facility=local0",
        ),
        (
            "<190>Oct 11 22:14:15 fe80::1 nginx: \"GET /\" 200",
            "3 \"GET /\" 200 app=nginx host=fe80::1 facility=local7",
        ),
        // rsyslog's forward format.
        (
            "<13>2026-10-12T00:14:15.000+02:00 web1 app: x",
            "4 x app=app host=web1 facility=user",
        ),
        (
            "<13>2026-10-11T22:14:15Z web1 no tag",
            "4 no tag host=web1 facility=user",
        ),
        // logger --rfc5424, and syslog-ng.
        (
            "<13>1 2026-10-12T00:14:15.000000+02:00 web1 root - - [timeQuality tzKnown=\"1\" isSynced=\"1\" syncAccuracy=\"123\"] hello",
            "4 hello app=root host=web1 facility=user timeQuality.tzKnown=1 timeQuality.isSynced=1 timeQuality.syncAccuracy=123",
        ),
        (
            "<13>1 2026-10-12T00:14:15+02:00 h app 9 - [meta sequenceId=\"1\"] \u{feff}é",
            "4 é app=app host=h pid=9 facility=user meta.sequenceId=1",
        ),
        // Without structured data, as a platform sends it.
        (
            "<40>1 2026-10-11T22:14:15+00:00 host app web.3 - State changed",
            "9 State changed app=app host=host pid=web.3 facility=syslog",
        ),
        // Cisco IOS and ASA.
        (
            "<189>29: *Oct 11 22:14:15.000: %SYS-5-CONFIG_I: Configured",
            "4 Configured msgid=%SYS-5-CONFIG_I facility=local7",
        ),
        (
            "<189>29: r1: .Oct 11 22:14:15.000 UTC: %SYS-5-CONFIG_I: Configured",
            "4 Configured host=r1 msgid=%SYS-5-CONFIG_I facility=local7",
        ),
        (
            "<166>Oct 11 2026 22:14:15: %ASA-6-302013: Built",
            "3 Built msgid=%ASA-6-302013 facility=local4",
        ),
        (
            "<166>Oct 11 2026 22:14:15 fw1 : %ASA-6-302013: Built",
            "3 Built host=fw1 msgid=%ASA-6-302013 facility=local4",
        ),
        // Without a priority.
        (
            "Oct 11 22:14:15 web1 app[9]: x",
            "4 x app=app host=web1 pid=9 facility=user",
        ),
    ] {
        is(message, &format!("{record} {at}"));
    }
}

#[test]
fn messages_without_a_time_are_read() {
    is("<13>root: hello", "4 hello app=root facility=user");
    is("<11>app[9]: a [b]", "7 a [b] app=app pid=9 facility=user");
    is(
        "<189>29: %SYS-5-RESTART: x",
        "4 x msgid=%SYS-5-RESTART facility=local7",
    );
    is("<0>x", "9 x facility=kern");
    is("<191>http://x", "1 http://x facility=local7");
    is("<13>1 - - - - - -", "4  facility=user");
    is("<13>1 - h - - - - a  b ", "4 a  b  host=h facility=user");
}

#[test]
fn text_without_a_valid_header_is_the_message() {
    for message in [
        "<192>x",
        "<>x",
        "<1x",
        "<",
        "<1234>x",
        "<-1>x",
        "< 1>x",
        "\u{e9}",
        "[a]: b",
        "a[b c]: d",
        "a[]: b",
        "a[b",
    ] {
        is(message, &format!("4 {message} facility=user"));
    }
    for message in [
        "1 ",
        "1 x",
        "1 2026-13-01T00:00:00Z h a p m - x",
        "1 - h a p",
        "1 -  h a p m - x",
        "1 2026-12-01T00:00:00 h a p m - x",
    ] {
        is(
            &format!("<13>{message}"),
            &format!("4 {message} facility=user"),
        );
    }
}

#[test]
fn values_of_structured_data_are_unescaped() {
    is(
        r#"<13>1 - - - - - [a@1 b="x \"y\" \] \\ \n" c=""][d] text"#,
        r#"4 text facility=user a@1.b=x "y" ] \ \n a@1.c= d="#,
    );
    is(r#"<13>1 - - - - - [a  b="1" ]x"#, "4 x facility=user a.b=1");
}

#[test]
fn invalid_structured_data_is_counted_and_kept_as_text() {
    for (data, attributes, bad) in [
        ("[", "", "["),
        ("[]", "", "[]"),
        ("[a b]x", "", "[a b]x"),
        ("[a b=1] x", "", "[a b=1] x"),
        ("[a b=\"1\"][c d=\"2 x", " a.b=1", "[c d=\"2 x"),
        ("[a b=\"1\"c=\"2\"] x", "", "[a b=\"1\"c=\"2\"] x"),
        ("[a b=\"1\\", "", "[a b=\"1\\"),
        ("[hello] is [text", " hello=", ""),
    ] {
        let found = recorded(format!("<13>1 - - - - - {data}").as_bytes());
        let text = if bad.is_empty() { "is [text" } else { bad };
        assert_eq!(found.logs, [format!("4 {text} facility=user{attributes}")]);
        let invalid: Vec<String> = match bad {
            "" => Vec::new(),
            bad => vec![format!("invalid structured data: {bad}")],
        };
        assert_eq!(found.invalid, invalid);
    }
}

#[test]
fn surplus_parameters_are_counted() {
    let data: String = (0..40).map(|n| format!(" p{n}=\"v\"")).collect();
    let found = recorded(format!("<13>1 - - - - - [a{data}] x").as_bytes());
    assert_eq!(found.logs[0].matches(" a.p").count(), MAX_PARAMETERS);
    assert!(found.logs[0].starts_with("4 x facility=user a.p0=v"));
    assert_eq!(found.invalid.len(), 1);
    assert!(found.invalid[0].starts_with("too many parameters of structured data: p32="));
    let name = "n".repeat(129);
    assert_eq!(
        recorded(format!("<13>1 - - - - - [{name}] x").as_bytes())
            .invalid
            .len(),
        1
    );
}

#[test]
fn empty_messages_are_counted() {
    for message in ["", "\n", "  ", "\r\n\0"] {
        let found = recorded(message.as_bytes());
        assert_eq!((found.logs.len(), found.invalid.len()), (0, 1));
    }
}

#[test]
fn text_that_is_not_utf_8_is_repaired() {
    let found = recorded(b"<13>Oct 11 22:14:15 h\xff app: \xfe");
    assert!(
        found.logs[0].starts_with("4 \u{fffd} app=app host=h\u{fffd} "),
        "{:?}",
        found.logs
    );
}

proptest! {
    #[test]
    fn any_bytes_are_one_record_or_invalid(message: Vec<u8>, now: i64, offset: i32) {
        let mut recorded = Recorded::default();
        parse(&message, now, offset, &mut recorded);
        prop_assert!(recorded.logs.len() == 1 || recorded.invalid.len() == 1);
    }

    #[test]
    fn bytes_like_messages_are_one_record(
        message in "<[0-9]{1,3}>(1 )?([-a:\\[\\]= \"\\\\%*.<>0-9]|Oct 11 |22:14:15|2026-12-01T|- |\\[a b=\")*",
    ) {
        let mut recorded = Recorded::default();
        parse(message.as_bytes(), NOW, 0, &mut recorded);
        prop_assert_eq!(recorded.logs.len(), 1, "{}", message);
    }

    #[test]
    fn messages_of_rfc_5424_are_read_as_written(
        priority in 0u8..192,
        fields in prop::array::uniform4("[!-~]{1,20}"),
        value in "[ -~\u{e9}]{0,20}",
        text in "[!-~\u{e9}]([ -~\u{e9}]{0,20}[!-~])?",
    ) {
        prop_assume!(fields.iter().all(|field| field != "-"));
        let [host, app, pid, id] = &fields;
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace(']', "\\]");
        let message = format!("<{priority}>1 - {host} {app} {pid} {id} [a@1 b=\"{escaped}\"] {text}");
        let facility = FACILITIES[usize::from(priority / 8)];
        let level = level::from_syslog(priority % 8);
        is(&message, &format!(
            "{level} {text} app={app} host={host} pid={pid} msgid={id} facility={facility} a@1.b={value}"
        ));
    }

    #[test]
    fn messages_of_rfc_3164_are_read_as_written(
        host in "[a-z][a-z0-9.-]{0,20}",
        app in "[a-z][a-z0-9_/.-]{0,20}",
        pid in 0u32..,
        text in "[!-~\u{e9}]([ -~\u{e9}]{0,20}[!-~])?",
    ) {
        let message = format!("<13>Dec  1 15:04:01 {host} {app}[{pid}]: {text}");
        is(&message, &format!("4 {text} app={app} host={host} pid={pid} facility=user at={NOW}"));
    }
}

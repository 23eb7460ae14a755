//! Tests of the outbox: which reports it sends again, under which numbers, and in which order.

use std::sync::atomic::{AtomicUsize, Ordering};

use testkit::resp_stub::{Answer, RespStub};

use super::*;
use crate::command::{Log, Mstat, MstatReply, Sample, SampleType, Sequence, Stat};
use crate::connect::{Access, Server};

/// Log entries, and the outcomes of sending them.
struct Logs {
    outbox: Outbox<Log<'static>>,
    stub: RespStub,
    deliveries: Vec<Delivery<u64>>,
}

impl Logs {
    /// Messages `1` to `count`, and a server that replies so to the nth command, from 0, whatever the connection.
    fn new(count: usize, reply: impl Fn(usize) -> &'static str + Send + Sync + 'static) -> Logs {
        const MESSAGES: [&str; 6] = ["1", "2", "3", "4", "5", "6"];
        let mut outbox = Outbox::default();
        for message in &MESSAGES[..count] {
            outbox.push(Log::new("n", *message));
        }
        Logs {
            outbox,
            stub: stub(reply),
            deliveries: Vec::new(),
        }
    }

    /// Sends over a new connection.
    async fn send(&mut self) -> Result<(), ClientError> {
        let mut connection = connect(&self.stub).await;
        self.send_over(&mut connection).await
    }

    async fn send_over(&mut self, connection: &mut Connection) -> Result<(), ClientError> {
        let deliveries = &mut self.deliveries;
        let each = |_, delivery| deliveries.push(delivery);
        self.outbox.send(connection, each).await
    }

    /// Returns message and number of each command that was sent; the number is 0 without SEQ.
    fn sent(&self) -> Vec<(String, u64)> {
        let commands = self.stub.commands().into_iter();
        let pair = |words: Vec<String>| {
            let number = match words.get(3..) {
                Some([seq, source, number]) => {
                    let expected = self.outbox.numbering.as_ref().unwrap().source();
                    let expected = String::from_utf8_lossy(expected);
                    assert_eq!((seq.as_str(), source.as_str()), ("SEQ", &*expected));
                    number.parse().unwrap()
                }
                _ => 0,
            };
            (words[2].clone(), number)
        };
        commands.map(pair).collect()
    }
}

fn stub(reply: impl Fn(usize) -> &'static str + Send + Sync + 'static) -> RespStub {
    let count = AtomicUsize::new(0);
    RespStub::start(move |_| match reply(count.fetch_add(1, Ordering::SeqCst)) {
        "" => Answer::Close,
        reply => Answer::text(&format!("{reply}\r\n")),
    })
}

async fn connect(stub: &RespStub) -> Connection {
    let server = Server::parse(&stub.url(), &Access::default()).unwrap();
    server.connect().await.unwrap()
}

fn sent(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
    let owned = |(message, number): &(&str, u64)| ((*message).to_owned(), *number);
    expected.iter().map(owned).collect()
}

const UNKNOWN_SEQ: &str = "-ERR AGG.LOG: unknown option 'SEQ'; usage: AGG.LOG node message";

#[tokio::test]
async fn reports_are_numbered_in_their_order() {
    let mut logs = Logs::new(3, |_| ":7");
    logs.send().await.unwrap();
    assert!(logs.outbox.is_empty());
    assert_eq!(logs.sent(), sent(&[("1", 1), ("2", 2), ("3", 3)]));
    assert_eq!(logs.deliveries, vec![Delivery::Taken(7); 3]);
}

#[tokio::test]
async fn report_without_a_reply_is_sent_again_under_its_number() {
    // The server takes the second one, and its reply is lost.
    let mut logs = Logs::new(3, |n| match n {
        1 => "",
        2 => "$-1",
        _ => ":7",
    });
    let error = logs.send().await.unwrap_err();
    assert!(matches!(error, ClientError::Lost { .. }), "{error}");
    assert_eq!(logs.outbox.len(), 2);
    logs.send().await.unwrap();
    assert_eq!(logs.sent(), sent(&[("1", 1), ("2", 2), ("2", 2), ("3", 3)]));
    let expected = [Delivery::Taken(7), Delivery::Repeated, Delivery::Taken(7)];
    assert_eq!(logs.deliveries, expected);
}

#[tokio::test]
async fn rejected_report_is_not_sent_again() {
    let mut logs = Logs::new(2, |n| if n == 0 { "-AGGFULL x" } else { ":7" });
    logs.send().await.unwrap();
    let rejected = Delivery::Rejected(ServerError::parse("AGGFULL x"));
    assert_eq!(logs.deliveries, [rejected, Delivery::Taken(7)]);
    assert_eq!(logs.sent(), sent(&[("1", 1), ("2", 2)]));
}

#[tokio::test]
async fn no_report_overtakes_the_first_one_of_a_connection() {
    // The data is loaded right after the first command.
    let mut logs = Logs::new(3, |n| if n == 0 { "-LOADING x" } else { ":7" });
    let error = logs.send().await.unwrap_err();
    assert!(matches!(error, ClientError::Unavailable { .. }), "{error}");
    logs.send().await.unwrap();
    assert_eq!(logs.sent(), sent(&[("1", 1), ("1", 1), ("2", 2), ("3", 3)]));
}

#[tokio::test]
async fn report_that_was_overtaken_gets_a_new_number() {
    // A script runs at the time of the third one. The server takes the others, and nobody reads the replies.
    let mut logs = Logs::new(5, |n| match n {
        2 => "-BUSY x",
        5 | 6 => "$-1",
        _ => ":7",
    });
    let error = logs.send().await.unwrap_err();
    assert!(matches!(error, ClientError::Unavailable { .. }), "{error}");
    assert_eq!(logs.outbox.len(), 3);
    until(|| logs.stub.commands().len() == 5).await;
    logs.send().await.unwrap();
    assert_eq!(logs.sent()[5..], sent(&[("4", 4), ("5", 5), ("3", 6)]));
    let (taken, repeated) = (Delivery::Taken(7), Delivery::Repeated);
    assert_eq!(
        logs.deliveries,
        [
            taken.clone(),
            taken.clone(),
            repeated.clone(),
            repeated,
            taken
        ]
    );
}

#[tokio::test]
async fn reports_to_a_server_without_writes_keep_order_and_numbers() {
    for reply in [
        "-READONLY x",
        "-NOREPLICAS x",
        "-MISCONF x",
        "-OOM x",
        "-MOVED 1 h:1",
        "-ASK 1 h:1",
    ] {
        let mut logs = Logs::new(4, move |n| match n {
            2 | 3 => reply,
            _ => ":7",
        });
        let error = logs.send().await.unwrap_err();
        let expected = ServerError::parse(&reply[1..]);
        assert!(
            matches!(&error, ClientError::Unavailable { error, .. } if *error == expected),
            "{error}"
        );
        logs.send().await.unwrap();
        assert_eq!(logs.sent()[4..], sent(&[("3", 3), ("4", 4)]));
        assert_eq!(logs.deliveries, vec![Delivery::Taken(7); 4]);
    }
}

#[tokio::test]
async fn many_reports_are_sent_in_several_pipelines() {
    let mut outbox = Outbox::default();
    let count = 2 * PIPELINE + 17;
    for _ in 0..count {
        outbox.push(Log::new("n", "1"));
    }
    let stub = stub(|_| ":7");
    let mut connection = connect(&stub).await;
    let mut taken = 0;
    let each = |_, _| taken += 1;
    outbox.send(&mut connection, each).await.unwrap();
    assert_eq!((taken, stub.commands().len()), (count, count));
}

#[tokio::test]
async fn server_without_sequence_numbers_gets_reports_without() {
    let mut logs = Logs::new(3, |n| if n == 0 { UNKNOWN_SEQ } else { ":7" });
    let mut connection = connect(&logs.stub).await;
    logs.send_over(&mut connection).await.unwrap();
    assert_eq!(logs.sent(), sent(&[("1", 1), ("1", 0), ("2", 0), ("3", 0)]));
    assert_eq!(logs.deliveries, vec![Delivery::Taken(7); 3]);
    // It is known of the connection, and found out of the next one.
    logs.outbox.push(Log::new("n", "4"));
    logs.send_over(&mut connection).await.unwrap();
    logs.outbox.push(Log::new("n", "5"));
    logs.send().await.unwrap();
    assert_eq!(logs.sent()[4..], sent(&[("4", 0), ("5", 2)]));
}

#[tokio::test]
async fn samples_lack_a_number_while_there_is_no_memory_for_the_source() {
    let stub = stub(|n| if n == 1 { "-AGGFULL x" } else { ":1" });
    let mut outbox = Outbox::default();
    for value in 1..=3 {
        outbox.push(Stat::new("n", "m", value).sample_type(SampleType::Inc));
    }
    let mut deliveries = Vec::new();
    let mut connection = connect(&stub).await;
    let each = |_, delivery| deliveries.push(delivery);
    outbox.send(&mut connection, each).await.unwrap();
    assert_eq!(deliveries, vec![Delivery::Taken(true); 3]);
    let ends = |words: &[String]| (words[3].clone(), words.last().unwrap().clone());
    let sent: Vec<_> = stub.commands().iter().map(|words| ends(words)).collect();
    let expected = [("1", "1"), ("2", "2"), ("3", "3"), ("2", "INC")];
    assert_eq!(sent, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
}

#[tokio::test]
async fn server_without_columns_gets_a_command_for_each_kind_of_sample() {
    let stub = stub(|n| match n {
        0 => "-ERR AGG.MSTAT: unknown option 'SEQ'; usage: x",
        1 => "-ERR AGG.MSTAT: unknown option 'COLUMNS'; usage: x",
        2 => "*3\r\n:2\r\n:0\r\n*0",
        _ => "*3\r\n:0\r\n:1\r\n*0",
    });
    let mut outbox = Outbox::default();
    let samples = [
        Sample::new("a", 1),
        Sample::new("b", 2).tags("x:y"),
        Sample::new("c", 3),
    ];
    outbox.push(Mstat::new("n", samples));
    let mut deliveries = Vec::new();
    let mut connection = connect(&stub).await;
    let each = |_, delivery| deliveries.push(delivery);
    outbox.send(&mut connection, each).await.unwrap();
    let reply = |counted, late| {
        Delivery::Taken(MstatReply {
            counted,
            late,
            rejected: Vec::new(),
        })
    };
    assert_eq!(deliveries, [reply(2, 0), reply(0, 1)]);
    let sent: Vec<String> = stub
        .commands()
        .iter()
        .map(|words| words.join(" "))
        .collect();
    assert_eq!(sent.len(), 4);
    assert_eq!(
        sent[1],
        "AGG.MSTAT n COLUMNS METRIC VALUE TAGS VALUES a 1  b 2 x:y c 3 "
    );
    assert_eq!(
        sent[2..],
        [
            "AGG.MSTAT n VALUES a 1 c 3",
            "AGG.MSTAT n TAGS x:y VALUES b 2"
        ]
    );
}

#[tokio::test]
async fn server_that_never_knows_an_option_does_not_keep_the_outbox_busy() {
    for error in [UNKNOWN_SEQ, "-ERR unknown option 'COLUMNS'", "-AGGFULL x"] {
        let stub = stub(move |_| error);
        let mut outbox = Outbox::default();
        outbox.push(Mstat::new("n", [("a", 1)]));
        let mut connection = connect(&stub).await;
        let mut deliveries = Vec::new();
        let each = |_, delivery| deliveries.push(delivery);
        outbox.send(&mut connection, each).await.unwrap();
        assert_eq!(stub.commands().len(), 2, "{error}");
        assert_eq!(
            deliveries,
            [Delivery::Rejected(ServerError::parse(&error[1..]))]
        );
    }
}

#[tokio::test]
async fn outbox_without_numbers_sends_none() {
    let mut logs = Logs::new(2, |_| ":7");
    logs.outbox.numbering = None;
    logs.send().await.unwrap();
    assert_eq!(logs.sent(), sent(&[("1", 0), ("2", 0)]));
}

#[tokio::test]
async fn unexpected_reply_is_an_error() {
    let mut logs = Logs::new(1, |_| "+OK");
    let error = logs.send().await.unwrap_err();
    assert!(
        error.to_string().contains("unexpected reply to AGG.LOG"),
        "{error}"
    );
    // Nil is the reply to a repetition only if there is a number.
    let mut logs = Logs::new(1, |n| if n == 0 { UNKNOWN_SEQ } else { "$-1" });
    assert!(logs.send().await.is_err());
}

#[tokio::test]
async fn reports_of_a_call_that_was_cancelled_stay() {
    let mut logs = Logs::new(2, |_| ":7");
    let mut connection = connect(&logs.stub).await;
    // Polled once, so that the first report is sent and its reply is not read.
    tokio::select! {
        biased;
        _ = logs.send_over(&mut connection) => panic!("the call has ended"),
        () = std::future::ready(()) => {}
    }
    assert_eq!(logs.outbox.len(), 2);
    logs.send().await.unwrap();
    assert_eq!(logs.sent().last().unwrap().1, 2);
}

#[test]
fn sequence_number_is_the_option_seq() {
    let sequence = Sequence {
        source: b"s",
        number: 9,
    };
    let cmd = Log::new("n", "m").to_numbered_cmd(Some(sequence));
    let text = String::from_utf8(cmd.to_bytes()).unwrap();
    assert!(
        text.ends_with("$3\r\nSEQ\r\n$1\r\ns\r\n$1\r\n9\r\n"),
        "{text:?}"
    );
}

/// Waits for a condition.
async fn until(is_met: impl Fn() -> bool) {
    while !is_met() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

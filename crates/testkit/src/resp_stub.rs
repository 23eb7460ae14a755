//! A stub of a server that speaks RESP2. It replies as the test says, also in ways that no real server does.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The reply to a command.
#[derive(Clone)]
pub enum Answer {
    /// Sends these bytes and reads the next command.
    Reply(Vec<u8>),
    /// Sends the first bytes, then the second over and over until the connection closes.
    Endless(&'static [u8], &'static [u8]),
    /// Closes the connection without a reply.
    Close,
}

impl Answer {
    /// Returns a reply with these bytes.
    pub fn text(text: &str) -> Answer {
        Answer::Reply(text.as_bytes().to_vec())
    }
}

/// Returns the reply of a server with the module and one node `n`; `None` for a command that is not known here.
pub fn reply_of_a_server(command: &[String]) -> Option<Answer> {
    let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
    let reply = match command[0].to_uppercase().as_str() {
        "AUTH" | "SELECT" => "+OK\r\n".into(),
        "PING" => "+PONG\r\n".into(),
        "COMMAND" => "*1\r\n*1\r\n$9\r\nagg.fetch\r\n".into(),
        "INFO" => {
            bulk("redis_version:7.0.15\r\nrole:master\r\nmodule:name=agg,ver=3\r\nagg_nodes:1\r\n")
        }
        "SCAN" => "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nn\r\n".into(),
        _ => return None,
    };
    Some(Answer::Reply(reply.into_bytes()))
}

/// A running stub; its threads end with the test's process.
pub struct RespStub {
    /// The address it listens on, with the port.
    pub address: String,
    /// The port it listens on.
    pub port: u16,
    commands: Arc<Mutex<Vec<Vec<String>>>>,
}

impl RespStub {
    /// Starts a stub on a free port of 127.0.0.1.
    pub fn start(answer: impl Fn(&[String]) -> Answer + Send + Sync + 'static) -> RespStub {
        RespStub::at("127.0.0.1:0", answer)
    }

    /// Starts a stub that sends an array that does not end, one byte every `pause`.
    pub fn slow(pause: Duration) -> RespStub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let bytes = b"*1000\r\n".iter().chain(b":1\r\n".iter().cycle());
                    for byte in bytes {
                        if stream.write_all(&[*byte]).is_err() {
                            return;
                        }
                        std::thread::sleep(pause);
                    }
                });
            }
        });
        RespStub {
            address: local.to_string(),
            port: local.port(),
            commands: Arc::default(),
        }
    }

    /// Starts a stub on an address.
    pub fn at(
        address: &str,
        answer: impl Fn(&[String]) -> Answer + Send + Sync + 'static,
    ) -> RespStub {
        let listener = TcpListener::bind(address).unwrap();
        let local = listener.local_addr().unwrap();
        let (commands, answer) = (Arc::new(Mutex::new(Vec::new())), Arc::new(answer));
        let kept: Arc<Mutex<Vec<Vec<String>>>> = commands.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (kept, answer) = (kept.clone(), answer.clone());
                std::thread::spawn(move || serve(stream.unwrap(), &kept, &*answer));
            }
        });
        RespStub {
            address: local.to_string(),
            port: local.port(),
            commands,
        }
    }

    /// Returns its URL.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Returns the commands that it received on all connections.
    pub fn commands(&self) -> Vec<Vec<String>> {
        self.commands.lock().unwrap().clone()
    }

    /// Returns how often it received a command.
    pub fn count(&self, name: &str) -> usize {
        let commands = self.commands.lock().unwrap();
        commands.iter().filter(|command| command[0] == name).count()
    }
}

fn serve(
    mut stream: TcpStream,
    kept: &Mutex<Vec<Vec<String>>>,
    answer: &(dyn Fn(&[String]) -> Answer + Send + Sync),
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(command) = read(&mut reader) {
        kept.lock().unwrap().push(command.clone());
        match answer(&command) {
            Answer::Reply(bytes) => {
                if stream.write_all(&bytes).is_err() {
                    return;
                }
            }
            Answer::Close => return,
            Answer::Endless(first, again) => {
                let many = again.repeat((64 << 10) / again.len());
                let mut sent = stream.write_all(first);
                while sent.is_ok() {
                    sent = stream.write_all(&many);
                }
                return;
            }
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Vec<String>> {
    let words = number(reader, '*')?;
    let mut command = Vec::new();
    for _ in 0..words {
        let mut word = vec![0; number(reader, '$')? + 2];
        reader.read_exact(&mut word).ok()?;
        word.truncate(word.len() - 2);
        command.push(String::from_utf8_lossy(&word).into_owned());
    }
    Some(command)
}

fn number(reader: &mut impl BufRead, sign: char) -> Option<usize> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    line.strip_prefix(sign)?.trim_end().parse().ok()
}

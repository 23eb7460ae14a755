//! A stub of a server that speaks RESP 2: it answers as the test says, also in ways that no real server does.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What is sent for a command.
#[derive(Clone)]
pub enum Answer {
    /// This, and then the next command is read.
    Reply(Vec<u8>),
    /// The first, and then the second over and over until the connection is closed.
    Endless(&'static [u8], &'static [u8]),
}

impl Answer {
    pub fn text(text: &str) -> Answer {
        Answer::Reply(text.as_bytes().to_vec())
    }
}

/// What a server with the module and the one node `n` answers; none of what is not known.
pub fn as_a_server_does(command: &[String]) -> Option<Answer> {
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

/// The stub; its threads end with the test's process.
pub struct Hostile {
    pub address: String,
    pub port: u16,
    commands: Arc<Mutex<Vec<Vec<String>>>>,
}

impl Hostile {
    /// Listens at any port of 127.0.0.1.
    pub fn start(answer: impl Fn(&[String]) -> Answer + Send + Sync + 'static) -> Hostile {
        Hostile::at("127.0.0.1:0", answer)
    }

    /// One that sends a byte of an array that does not end every so often.
    pub fn slow(pause: Duration) -> Hostile {
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
        Hostile {
            address: local.to_string(),
            port: local.port(),
            commands: Arc::default(),
        }
    }

    /// Listens at an address.
    pub fn at(
        address: &str,
        answer: impl Fn(&[String]) -> Answer + Send + Sync + 'static,
    ) -> Hostile {
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
        Hostile {
            address: local.to_string(),
            port: local.port(),
            commands,
        }
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// All commands that came, by all connections.
    pub fn commands(&self) -> Vec<Vec<String>> {
        self.commands.lock().unwrap().clone()
    }

    /// How often a command came.
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

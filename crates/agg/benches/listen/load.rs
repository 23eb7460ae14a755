//! Sends packets at a steady rate.

use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::subject::Subject;

/// The time between packets that are sent together.
const PAUSE: Duration = Duration::from_micros(500);

/// Packets that are sent in turn.
pub struct Load {
    /// The packets.
    pub packets: Vec<Packet>,
    /// They are sent over TCP.
    pub is_stream: bool,
}

/// A packet.
pub struct Packet {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The samples in it.
    pub count: u64,
}

/// The result of sending at one rate.
pub struct Trial {
    /// The samples that were sent.
    pub count: u64,
    /// The time until all of them were counted, seconds.
    pub seconds: f64,
    /// CPU time of the program, of the server and of the sender, seconds.
    pub subject: f64,
    pub server: f64,
    pub sender: f64,
    /// The samples that were not counted.
    pub lost: u64,
    /// The part that was too slow if not all of them were counted in time.
    pub failure: Option<&'static str>,
}

impl Load {
    /// Sends samples at a rate, and waits until they have been counted.
    pub fn send(&self, subject: &Subject, rate: f64, seconds: f64) -> Trial {
        subject.reset();
        let (before, (cpu, server_cpu), own) = (subject.received(), subject.cpu(), own_cpu());
        let start = Instant::now();
        let count = match self.is_stream {
            true => {
                let mut stream =
                    TcpStream::connect(("127.0.0.1", subject.port)).expect("a connection");
                self.paced(rate, seconds, |bytes| {
                    stream.write_all(bytes).expect("it is sent")
                })
            }
            false => {
                let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
                socket
                    .connect(("127.0.0.1", subject.port))
                    .expect("an address");
                self.paced(rate, seconds, |bytes| drop(socket.send(bytes)))
            }
        };
        let is_late = start.elapsed().as_secs_f64() > 1.03 * seconds + 0.01;
        let sender = own_cpu() - own;
        let end = subject.settle(before, count);
        let (after, (cpu_after, server_after)) = (subject.received(), subject.cpu());
        let packets_lost = after.kernel_dropped - before.kernel_dropped;
        // The daemon has no server that counts.
        let lost = match after.counted {
            0 => packets_lost * count / self.packets_of(count).max(1),
            counted => (before.counted + count).saturating_sub(counted),
        };
        let seconds_all = end.duration_since(start).as_secs_f64();
        let failure = match () {
            () if packets_lost > 0 => Some("the queue of the socket"),
            () if after.dropped > before.dropped => Some("the server"),
            () if lost > 0 => Some("the path"),
            () if is_late => Some("the sender"),
            // What waits in a buffer at the end would be lost later.
            () if seconds_all > 1.1 * seconds + 0.25 => Some("the server"),
            () => None,
        };
        Trial {
            count,
            seconds: seconds_all.max(seconds),
            subject: cpu_after - cpu,
            server: server_after - server_cpu,
            sender,
            lost,
            failure,
        }
    }

    /// Returns about how many packets have so many samples.
    fn packets_of(&self, count: u64) -> u64 {
        let all: u64 = self.packets.iter().map(|packet| packet.count).sum();
        count * self.packets.len() as u64 / all
    }

    /// Sends packets so that `rate` samples are sent in each second. Returns the number of samples.
    fn paced(&self, rate: f64, seconds: f64, mut send: impl FnMut(&[u8])) -> u64 {
        let (start, mut sent) = (Instant::now(), 0);
        let mut packets = self.packets.iter().cycle();
        let all = (rate * seconds) as u64;
        while sent < all {
            let due = all.min((start.elapsed().as_secs_f64() * rate) as u64 + 1);
            while sent < due {
                let packet = packets.next().expect("a cycle");
                send(&packet.bytes);
                sent += packet.count;
            }
            std::thread::sleep(PAUSE);
        }
        sent
    }
}

/// CPU time of this thread, seconds.
pub fn own_cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let ns = text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok());
    ns.expect("a number") / 1e9
}

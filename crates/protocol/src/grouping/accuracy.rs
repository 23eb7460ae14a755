//! Measures the accuracy of grouping: the share of messages whose group has exactly the messages of their template.
//!
//! The messages are generated from templates in the style of eight logs. Among the parts that vary are hard ones: words
//! without digits, which no rule can tell from text.

use std::collections::{BTreeMap, HashMap};

use super::key;

const FORMATS: [(&str, &str); 8] = [
    (
        "apache",
        include_str!("../../tests/data/templates/apache.txt"),
    ),
    ("hdfs", include_str!("../../tests/data/templates/hdfs.txt")),
    ("hpc", include_str!("../../tests/data/templates/hpc.txt")),
    (
        "linux",
        include_str!("../../tests/data/templates/linux.txt"),
    ),
    (
        "openssh",
        include_str!("../../tests/data/templates/openssh.txt"),
    ),
    (
        "spark",
        include_str!("../../tests/data/templates/spark.txt"),
    ),
    (
        "windows",
        include_str!("../../tests/data/templates/windows.txt"),
    ),
    (
        "zookeeper",
        include_str!("../../tests/data/templates/zookeeper.txt"),
    ),
];

/// Messages of each format.
const MESSAGES: usize = 2000;

/// Parts that vary and are words: name and values.
const WORDS: [(&str, &str); 19] = [
    (
        "user",
        "root admin oracle test guest bob alice postgres nagios ftp web2 user1 mysql jenkins ubuntu pi support git deploy a.smith",
    ),
    (
        "word",
        "index left right commit storage read write getattr billing cart main worker queue map reduce cache count total value login filter collect save",
    ),
    (
        "service",
        "cups httpd sshd named crond ntpd postfix gpm xfs rpc.statd",
    ),
    (
        "class",
        "SocketClient JobRunner MapTask DAGScheduler QuorumPeer Store Worker HiveLoader CoreEngine SOFTWARE",
    ),
    (
        "host",
        "db.example.com www.example.org gw-17.isp.net lns-4-8-15-16.adsl.example.fr mail.example.de localhost web01 build7 static.16.23.example.net nat",
    ),
    (
        "node",
        "node-17 node-200 cn23 cn118 mesos-master-1 mesos-slave-27 tbird-admin1 storage dn228 localhost",
    ),
    ("letter", "a b c d"),
    (
        "signal",
        "Segmentation fault|Aborted|Bus error|Killed|Terminated",
    ),
    ("method", "GET POST PUT HEAD"),
    (
        "bye",
        "Bye Bye|Closed due to user request.|Normal Shutdown, Thank you for playing|disconnect",
    ),
    (
        "ciphers",
        "aes256-cbc blowfish-cbc 3des-cbc,aes128-cbc arcfour128",
    ),
    ("zkstate", "LOOKING FOLLOWING LEADING"),
    ("bool", "False True"),
    ("appstate", "Installed Staged Absent Default"),
    ("svcstate", "running stopped paused"),
    ("client", "WindowsUpdateAgent SPP Default"),
    ("psu", "on on|on off|off on"),
    (
        "hadoopkey",
        "mapred.job.id mapreduce.job.id mapred.tip.id mapreduce.task.id mapred.map.tasks",
    ),
    (
        "component",
        "alt0 SCSI-WWID:01000010:6005-08b4 boot storage gige",
    ),
];

/// SplitMix64 (<https://prng.di.unimi.it/splitmix64.c>).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn of<'a>(&mut self, values: &[&'a str]) -> &'a str {
        values[self.below(values.len() as u64) as usize]
    }

    /// A number of one to nine digits.
    fn number(&mut self) -> u64 {
        let digits = 1 + self.below(9) as u32;
        self.below(10_u64.pow(digits))
    }

    fn hex(&mut self, digits: usize) -> String {
        (0..digits)
            .map(|_| format!("{:x}", self.below(16)))
            .collect()
    }

    fn list(&mut self, max: u64, separator: &str, name: &str) -> String {
        let values: Vec<String> = (0..=self.below(max)).map(|_| self.part(name)).collect();
        values.join(separator)
    }

    fn path(&mut self) -> String {
        let roots = [
            "/var/www",
            "/home",
            "/usr/share",
            "/data",
            "/tmp",
            "/user",
            "/p/gb2",
            "/mnt/hadoop",
        ];
        let file = self.of(&[
            "x.log",
            "index.html",
            "part-00017",
            "run",
            "job.xml",
            "snapshot.5f00",
            "a.out",
            "LATEST",
        ]);
        format!("{}/{}/{file}", self.of(&roots), self.part("user"))
    }

    fn date(&mut self) -> String {
        let day = self.of(&["Mon", "Tue", "Sat"]);
        let month = self.of(&["Jan", "Jun", "Dec"]);
        let (date, hour, minute) = (1 + self.below(28), self.below(24), self.below(60));
        format!("{day} {month} {date:2} {hour:02}:{minute:02}:07 2026")
    }

    /// A part that varies, by its name in templates.
    fn part(&mut self, name: &str) -> String {
        if let Some((_, words)) = WORDS.iter().find(|(known, _)| *known == name) {
            let separator = if words.contains('|') { '|' } else { ' ' };
            return self
                .of(&words.split(separator).collect::<Vec<_>>())
                .to_owned();
        }
        match name {
            "int" => self.number().to_string(),
            "bit" => self.below(2).to_string(),
            "sint" => format!("{}{}", self.of(&["", "-"]), self.next() >> 1),
            "port" => self.below(65_536).to_string(),
            "float" => format!("{}.{}", self.below(300), self.below(10)),
            "hex" => self.hex(15),
            "hex2" => self.hex(2),
            "hex4" => self.hex(4),
            "hex8" => self.hex(8),
            "ip" => format!(
                "10.{}.{}.{}",
                self.below(256),
                self.below(256),
                self.below(256)
            ),
            "iplist" => self.list(3, " ", "ip"),
            "blklist" => self.list(5, " ", "blk"),
            "blk" => format!("blk_{}", self.part("sint")),
            "users" => self.list(2, ",", "user"),
            "fans" => self.list(4, " ", "int"),
            "mac" => (0..6).map(|_| self.hex(2)).collect::<Vec<_>>().join(":"),
            "guid" => format!("{{{}-{}-{}}}", self.hex(8), self.hex(4), self.hex(12)),
            "path" => self.path(),
            "winpath" => format!(
                "C:\\Windows\\{}\\{}*_std.sqm",
                self.part("word"),
                self.part("word")
            ),
            "route" => self
                .of(&[
                    "/",
                    "/pay",
                    "/api/users/17",
                    "/dev/sdb1",
                    "/index.php",
                    "/zk/locks/lock-0000017",
                    "/default-rack",
                ])
                .to_owned(),
            "date" => self.date(),
            "size" => format!(
                "{}.{} {}",
                self.below(1000),
                self.below(10),
                self.of(&["B", "KB", "MB", "GB"])
            ),
            "duration" => format!(
                "{}{}",
                self.number(),
                self.of(&["ms", " ms", "s", " seconds"])
            ),
            "quoted" => format!("\"{} {}\"", self.part("word"), self.part("path")),
            "base64" => (0..43)
                .map(|_| char::from(b"AZaz09+/"[self.below(8) as usize]))
                .collect(),
            "pci" => format!("0000:{}:{}.{}", self.hex(2), self.hex(2), self.below(8)),
            "rack" => format!("{}T{:02}", self.below(4), self.below(64)),
            "location" => format!(
                "R{:02}-M{}-N{}-C:J{:02}-U{:02}",
                self.below(64),
                self.below(2),
                self.below(16),
                self.below(18),
                self.below(12)
            ),
            "nodelist" => self.list(3, ",", "node"),
            "package" => {
                let name = self.of(&[
                    "Package_for_KB",
                    "Microsoft-Windows-Foundation-Package-",
                    "Package_12_for_KB",
                ]);
                format!(
                    "{name}{}~{}~amd64~~6.1.{}.{}",
                    self.number(),
                    self.hex(16),
                    self.below(10),
                    self.below(10)
                )
            }
            _ => panic!("unknown part {name}"),
        }
    }

    fn message(&mut self, template: &str) -> String {
        let (mut message, mut rest) = (String::new(), template);
        while let Some((text, after)) = rest.split_once('{') {
            message += text;
            let name = after.split('}').next().unwrap();
            if name.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !name.is_empty() {
                message += &self.part(name);
                rest = &after[name.len() + 1..];
            } else {
                // `{{` is a brace.
                message.push('{');
                rest = after.strip_prefix('{').unwrap_or(after);
            }
        }
        message + rest
    }
}

/// Returns messages with the number of their template. The template of rank r has a share in proportion to 1/r.
fn messages(random: &mut Random, templates: &[&str]) -> Vec<(usize, String)> {
    let mut order: Vec<usize> = (0..templates.len()).collect();
    for last in (1..order.len()).rev() {
        order.swap(last, random.below(last as u64 + 1) as usize);
    }
    let weights: Vec<u64> = (1..=order.len() as u64)
        .map(|rank| 1_000_000 / rank)
        .collect();
    let total: u64 = weights.iter().sum();
    let mut one = || {
        let mut at = random.below(total);
        let rank = weights.iter().position(|weight| {
            let is_here = at < *weight;
            at = at.saturating_sub(*weight);
            is_here
        });
        let template = order[rank.unwrap()];
        (template, random.message(templates[template]))
    };
    (0..MESSAGES).map(|_| one()).collect()
}

/// Returns the share of messages whose group is exactly that of their template, and the templates that are not groups.
fn accuracy(messages: &[(usize, String)]) -> (f64, BTreeMap<usize, usize>) {
    let mut by_key: HashMap<String, Vec<usize>> = HashMap::new();
    let mut by_template: HashMap<usize, Vec<usize>> = HashMap::new();
    for (index, (template, message)) in messages.iter().enumerate() {
        by_key.entry(key(message)).or_default().push(index);
        by_template.entry(*template).or_default().push(index);
    }
    let mut wrong = BTreeMap::new();
    for group in by_key.values() {
        let template = messages[group[0]].0;
        if by_template[&template] != *group {
            for index in group {
                *wrong.entry(messages[*index].0).or_default() += 1;
            }
        }
    }
    let bad: usize = wrong.values().sum();
    (1.0 - bad as f64 / messages.len() as f64, wrong)
}

#[test]
fn mean_accuracy_of_grouping_is_at_least_0_72() {
    let mut sum = 0.0;
    for (name, templates) in FORMATS {
        let templates: Vec<&str> = templates.lines().collect();
        assert!(templates.len() >= 40, "{name}");
        // The mean of several orders: one alone depends on which templates are frequent.
        let (mut total, orders) = (0.0, 10);
        let mut all = BTreeMap::new();
        for seed in 0..orders {
            let (share, wrong) = accuracy(&messages(&mut Random(seed), &templates));
            total += share;
            for (template, count) in wrong {
                *all.entry(template).or_insert(0) += count;
            }
        }
        let mean = total / orders as f64;
        println!("{name:10} {mean:.3}");
        for (template, count) in all {
            println!("    {count:6} {}", templates[template]);
        }
        sum += mean;
    }
    let mean = sum / FORMATS.len() as f64;
    println!("mean       {mean:.3}");
    assert!(mean >= 0.72, "{mean}");
}

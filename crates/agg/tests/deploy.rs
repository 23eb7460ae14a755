//! The files of packaging/ for containers: `agg` accepts every configuration in docker-compose.yml and kubernetes/, and
//! the programs work together with the users that the server's image creates. Containers cannot be started where the
//! tests run: the programs run as they are, with the same configurations, at other addresses.
//!
//! scripts/manifests.sh checks the files themselves.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::influx::InfluxDb;
use crate::support::postgres::Postgres;
use crate::support::{Running, agg, err, free_port, missing, module, past_hour, program, until};

const REPORTER: &str = "secret of reporters";
const POLLER: &str = "secret of pollers";
const DATABASE: &str = "secret of the database";

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(packaging().join(path)).unwrap()
}

/// Returns a file of a ConfigMap: a block that begins with `name: |`.
fn of_config_map(path: &str, name: &str) -> String {
    let text = read(path);
    let start = format!("\n  {name}: |\n");
    let (_, block) = text.split_once(&start).unwrap();
    let lines = block.lines();
    lines
        .map_while(|line| match line.strip_prefix("    ") {
            None if line.is_empty() => Some(""),
            content => content,
        })
        .map(|line| format!("{line}\n"))
        .collect()
}

/// Runs `agg` with a configuration, whose directory /var/lib/agg is a temporary one.
fn check(command: &str, config: &str) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    let config = config.replace("/var/lib/agg", dir.path().to_str().unwrap());
    std::fs::write(&path, config).unwrap();
    let line = format!("{command} --config {}", path.display());
    let output = agg("redis://unused", &line)
        .env("POLLER_PASSWORD", POLLER)
        .env("POSTGRES_PASSWORD", DATABASE)
        .env("POD_NAME", "agg-poll-0")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", err(&output));
}

#[test]
fn configurations_of_pollers_are_valid() {
    check("check", &read("compose/poller.toml"));
    check(
        "check",
        &of_config_map("kubernetes/poll.yaml", "poller.toml"),
    );
}

#[test]
fn configurations_of_listeners_are_valid() {
    check("listen --check", &read("compose/listen.toml"));
    let config = of_config_map("kubernetes/listen.yaml", "listen.toml");
    check("listen --check", &config);
}

#[test]
fn prometheus_accepts_its_configuration() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("prometheus.yml"),
        read("compose/prometheus.yml"),
    )
    .unwrap();
    for rules in ["alerts.yml", "alerts-serve.yml"] {
        let text = read(&format!("../docs/monitoring/{rules}"));
        std::fs::write(dir.path().join(rules), text).unwrap();
    }
    let output = Command::new("promtool")
        .args(["check", "config"])
        .arg(dir.path().join("prometheus.yml"))
        .output();
    let Ok(output) = output else {
        return missing("promtool").unwrap_or_default();
    };
    assert!(output.status.success(), "{}", err(&output));
}

/// A server with the configuration of the image, started by its ENTRYPOINT.
struct Image {
    server: Running,
    port: u16,
    dir: tempfile::TempDir,
}

impl Image {
    /// Returns `None` if the server or the module is missing.
    fn start(passwords: &[(&str, &str)]) -> Option<Image> {
        let (program, module) = (program()?, module());
        if !module.exists() {
            return missing(&format!("the module {}", module.display()));
        }
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        let at = |name: &str| dir.path().join(name);
        let conf = Command::new(packaging().join("module/container.sh"))
            .arg(packaging().join("../redis.conf.example"))
            .output();
        let conf = String::from_utf8(conf.unwrap().stdout).unwrap();
        assert!(conf.contains("bind *\n") && conf.contains("dir /data\n"));
        let conf = conf
            .replace("bind *", "bind 127.0.0.1")
            .replace("port 7777", &format!("port {port}"))
            .replace("/data", dir.path().to_str().unwrap())
            .replace(
                "/usr/lib/redis/modules/libaggregator.so",
                module.to_str().unwrap(),
            );
        std::fs::write(at("aggregator.conf"), conf).unwrap();
        let server = Command::new(packaging().join("module/container-start.sh"))
            .arg(program)
            .arg(at("aggregator.conf"))
            .env("AGG_USERS", at("users.acl"))
            .envs(passwords.iter().copied())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let server = Running(server);
        Some(Image { server, port, dir })
    }

    /// Returns the reply to a command as a user, or the error.
    fn ask(&self, user: &str, command: &str) -> Result<redis::Value, redis::RedisError> {
        let url = format!("redis://127.0.0.1:{}", self.port);
        let client = redis::Client::open(url)?;
        let mut connection = client.get_connection()?;
        let mut command = command.split_whitespace();
        let mut words = redis::cmd(command.next().unwrap());
        words.arg(command.collect::<Vec<_>>());
        if !user.is_empty() {
            let password = if user == "reporter" { REPORTER } else { POLLER };
            redis::cmd("AUTH")
                .arg(user)
                .arg(password)
                .exec(&mut connection)?;
        }
        words.query(&mut connection)
    }

    fn wait(&self) {
        until("the server answers", || self.ask("poller", "PING").ok());
    }
}

#[test]
fn image_creates_users_that_can_do_what_they_are_for() {
    let passwords = [("REPORTER_PASSWORD", REPORTER), ("POLLER_PASSWORD", POLLER)];
    let Some(image) = Image::start(&passwords) else {
        return;
    };
    image.wait();
    let denied = |user: &str, command: &str, code: &str| {
        let error = image.ask(user, command).unwrap_err();
        assert_eq!(error.code(), Some(code), "{user}: {command}: {error}");
    };
    denied("", "PING", "NOAUTH");
    image.ask("reporter", "AGG.LOG node1 hello").unwrap();
    denied("reporter", "AGG.POP node1 LOG", "NOPERM");
    denied("reporter", "CONFIG GET maxmemory", "NOPERM");
    image.ask("poller", "AGG.POP node1 LOG").unwrap();
    denied("poller", "AGG.LOG node1 hello", "NOPERM");

    // Others on the machine can read neither the passwords nor their hashes.
    let users = std::fs::read_to_string(image.dir.path().join("users.acl")).unwrap();
    assert!(!users.contains("secret"), "{users}");
    let environment = std::fs::read(format!("/proc/{}/environ", image.server.0.id()));
    let environment = environment.unwrap_or_default();
    let environment = String::from_utf8_lossy(&environment);
    assert!(!environment.contains("secret"), "{environment}");
    // The rules are those of the example, and those of a fleet of pollers.
    let example = read("../redis.conf.example");
    let fleet = read("../docs/agg-poll.md");
    for line in users.lines().skip(1).filter(|line| !line.is_empty()) {
        let (_, rules) = line.split_once(" resetchannels ").unwrap();
        let (rules, more) = rules.split_once(" (").unwrap_or((rules, ""));
        assert!(
            fleet.contains(&format!("'({more}'")) || more.is_empty(),
            "{more}"
        );
        let rules = rules.replace("%W~*", "%W~node1");
        assert!(
            example.contains(&format!("resetchannels {rules}\n")),
            "{rules}"
        );
    }
}

#[test]
fn image_reads_passwords_from_files_and_rejects_empty_ones() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, format!("{POLLER}\n")).unwrap();
    let path = file.to_str().unwrap();
    let Some(image) = Image::start(&[("POLLER_PASSWORD_FILE", path)]) else {
        return;
    };
    image.wait();
    drop(image);
    std::fs::write(&file, "\n").unwrap();
    for path in [path, "/nonexistent"] {
        let mut image = Image::start(&[("POLLER_PASSWORD_FILE", path)]).unwrap();
        assert!(!image.server.wait().success(), "{path}");
    }
}

#[test]
fn image_without_passwords_admits_local_clients() {
    let Some(image) = Image::start(&[]) else {
        return;
    };
    until("the server answers", || image.ask("", "PING").ok());
}

/// The services of docker-compose.yml as programs: the poller drains what `agg host` reported, with the users and the
/// configuration of Compose, and Prometheus scrapes it and the listener.
#[test]
fn services_of_compose_work_together() {
    let passwords = [("REPORTER_PASSWORD", REPORTER), ("POLLER_PASSWORD", POLLER)];
    let (Some(image), Some(influxdb), Some(postgres)) = (
        Image::start(&passwords),
        InfluxDb::start(),
        Postgres::start(),
    ) else {
        return;
    };
    image.wait();
    influxdb.query("CREATE DATABASE grid");
    let host = format!("redis://reporter@127.0.0.1:{}", image.port);
    let output = agg(&host, "host --once --node docker")
        .env("AGG_PASSWORD", REPORTER)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", err(&output));

    let dir = image.dir.path();
    let (poller_page, listener_page) = (free_port(), free_port());
    let config = read("compose/poller.toml")
        .replace("server:7777", &format!("127.0.0.1:{}", image.port))
        .replace("http://influxdb:8086", &influxdb.url())
        .replace("postgresql://postgres:5432/grid", &postgres.uri())
        .replace("0.0.0.0:9777", &format!("127.0.0.1:{poller_page}"))
        .replace("/var/lib/agg", dir.to_str().unwrap());
    std::fs::write(dir.join("poller.toml"), config).unwrap();
    let line = format!("poll --config {}", dir.join("poller.toml").display());
    let mut poller = Running::start(
        agg("", &line)
            .env("POLLER_PASSWORD", POLLER)
            .env("POSTGRES_PASSWORD", DATABASE),
    );
    until("objects are in a table", || {
        let table = postgres.rows("SELECT to_regclass('reality')::text AS name");
        let rows = match table[0]["name"].is_null() {
            true => Vec::new(),
            false => postgres.rows("SELECT 1 FROM reality WHERE model = 'system.Machine'"),
        };
        (!rows.is_empty()).then_some(())
    });
    // Of an hour that has passed: its windows close at once.
    let start = past_hour();
    for at in [start, start + 300_000] {
        let command = format!("AGG.STAT docker queue.depth 7 AT {at}");
        image.ask("reporter", &command).unwrap();
    }
    until("a window is in InfluxDB", || {
        let rows = influxdb.query("SELECT avg FROM \"queue.depth\"");
        rows.first()
            .map(|row| assert_eq!(row[1].as_f64(), Some(7.0)))
    });

    let config = read("compose/listen.toml")
        .replace("0.0.0.0:9778", &format!("127.0.0.1:{listener_page}"))
        .replace("0.0.0.0:8125", &format!("127.0.0.1:{}", free_port()))
        .replace("0.0.0.0:4318", &format!("127.0.0.1:{}", free_port()))
        .replace("0.0.0.0:5140", &format!("127.0.0.1:{}", free_port()));
    std::fs::write(dir.join("listen.toml"), config).unwrap();
    let line = format!(
        "listen --node docker --config {}",
        dir.join("listen.toml").display()
    );
    let _listener = Running::start(agg(&host, &line).env("AGG_PASSWORD", REPORTER));
    // Prometheus requests the pages by the names of the services.
    for (name, page, metric) in [
        ("poll:9777", poller_page, "agg_poller_servers_up 1\n"),
        ("listen:9778", listener_page, "agg_listener_up 1\n"),
    ] {
        until(&format!("{metric} is shown"), || {
            let url = format!("http://127.0.0.1:{page}/metrics");
            let metrics = ureq::get(url).header("Host", name).call().ok()?;
            let metrics = metrics.into_body().read_to_string().unwrap();
            metrics.contains(metric).then_some(())
        });
    }
    assert!(poller.end_by("TERM").success());
}

/// The pods of poll.yaml as programs: they register in the server as its user, and one of them drains it.
#[test]
fn pollers_of_kubernetes_share_the_server() {
    let passwords = [("REPORTER_PASSWORD", REPORTER), ("POLLER_PASSWORD", POLLER)];
    let Some(image) = Image::start(&passwords) else {
        return;
    };
    image.wait();
    let start = |name: &str| {
        let (dir, page) = (tempfile::tempdir().unwrap(), free_port());
        let config = of_config_map("kubernetes/poll.yaml", "poller.toml")
            .replace("aggregator:7777", &format!("127.0.0.1:{}", image.port))
            .replace("0.0.0.0:9777", &format!("127.0.0.1:{page}"))
            .replace("/var/lib/agg", dir.path().to_str().unwrap());
        let path = dir.path().join("poller.toml");
        std::fs::write(&path, config).unwrap();
        let command = |line: &str| {
            let mut command = agg("", &format!("{line} --config {}", path.display()));
            command.env("POLLER_PASSWORD", POLLER).env("POD_NAME", name);
            command
        };
        let output = command("check --connect").output().unwrap();
        assert!(output.status.success(), "{}", err(&output));
        (Running::start(&mut command("poll")), page, dir)
    };
    let names = ["agg-poll-0", "agg-poll-1"];
    let mut pods = names.map(start);
    // Prometheus requests the page by the name of the pod.
    let metrics = |n: usize| -> Option<String> {
        let url = format!("http://127.0.0.1:{}/metrics", pods[n].1);
        let host = format!("{}.agg-poll.aggregator:9777", names[n]);
        let response = ureq::get(url).header("Host", host).call().ok()?;
        response.into_body().read_to_string().ok()
    };
    until("one owns the server and one watches it", || {
        let [one, other] = [metrics(0)?, metrics(1)?];
        let both = format!("{one}{other}");
        let has = |line: &str, count| both.matches(line).count() == count;
        (has("\nagg_poller_fleet_members 2\n", 2)
            && has("\nagg_poller_owned_servers 1\n", 1)
            && has("\nagg_poller_watched_servers 1\n", 1))
        .then_some(())
    });
    image.ask("reporter", "AGG.LOG node1 hello").unwrap();
    until("the record is written once", || {
        let text = |n: usize| {
            std::fs::read_to_string(pods[n].2.path().join("records.jsonl")).unwrap_or_default()
        };
        let count = [0, 1].map(|n| text(n).matches("hello").count());
        (count.iter().sum::<usize>() == 1).then_some(())
    });
    for (poller, ..) in &mut pods {
        assert!(poller.end_by("TERM").success());
    }
}

/// Returns the arguments of `agg serve`, which a manifest has in one line.
fn arguments_of_serve(path: &str) -> Vec<String> {
    let text = read(path);
    let (_, rest) = text.split_once(": [serve, ").unwrap();
    let (arguments, _) = rest.split_once("]\n").unwrap();
    let arguments = arguments.split(", ");
    arguments.map(|one| one.trim_matches('"').into()).collect()
}

#[test]
fn live_values_are_served_with_the_arguments_of_both_manifests() {
    let passwords = [("REPORTER_PASSWORD", REPORTER), ("POLLER_PASSWORD", POLLER)];
    let Some(image) = Image::start(&passwords) else {
        return;
    };
    image.wait();
    image
        .ask("reporter", "AGG.STAT docker queue.depth 7")
        .unwrap();
    for (manifest, server, name) in [
        ("docker-compose.yml", "server:7777", "serve:9779"),
        (
            "kubernetes/serve.yaml",
            "aggregator:7777",
            "agg-serve.aggregator:9779",
        ),
    ] {
        let page = free_port();
        let arguments = arguments_of_serve(manifest).into_iter().map(|argument| {
            argument
                .replace(server, &format!("127.0.0.1:{}", image.port))
                .replace("0.0.0.0:9779", &format!("127.0.0.1:{page}"))
        });
        let mut serve = Running::start(
            agg("redis://unused", "serve")
                .args(arguments)
                .env("AGG_PASSWORD", POLLER),
        );
        // Prometheus requests the page by the name of the service.
        until(&format!("the live value is served for {name}"), || {
            let url = format!("http://127.0.0.1:{page}/metrics");
            let metrics = ureq::get(url).header("Host", name).call().ok()?;
            let metrics = metrics.into_body().read_to_string().unwrap();
            metrics
                .contains("\nqueue_depth_last{node=\"docker\"} 7\n")
                .then_some(())
        });
        assert!(serve.end_by("TERM").success());
    }
}

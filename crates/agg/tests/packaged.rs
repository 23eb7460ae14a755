//! What the Debian package of `agg` installs: every unit, configuration and example is listed, and `agg-serve.service` works
//! as it is installed. scripts/test-packages.sh installs the package itself.

use std::path::{Path, PathBuf};

use crate::support::{Running, Server, agg, free_port, until};

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(path).unwrap()
}

/// Returns the names of the files of packaging/agg that end with this.
fn installed(ending: &str) -> Vec<String> {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/agg");
    let files = std::fs::read_dir(folder).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(ending)).collect();
    names.sort();
    names
}

#[test]
fn package_lists_every_unit_configuration_and_example() {
    let (manifest, postinst) = (file("Cargo.toml"), file("../../packaging/agg/postinst"));
    for unit in installed(".service") {
        let name = unit.strip_suffix(".service").unwrap();
        let line = format!("unit-name = \"{name}\", enable = false, start = false");
        assert!(manifest.contains(&line), "{unit}");
    }
    for config in [installed(".toml"), installed(".env")].concat() {
        let asset = format!("[\"../../packaging/agg/{config}\", \"etc/agg/\", \"640\"]");
        assert!(manifest.contains(&asset), "{config}");
        assert!(
            manifest.contains(&format!("\"/etc/agg/{config}\"")),
            "{config}"
        );
        // The group of the services may read it.
        let files = postinst.lines().find(|line| line.contains("for file in "));
        assert!(files.unwrap().contains(&config), "{config}");
    }
    let examples = "[\"examples/sinks/*.toml\", \"usr/share/doc/agg/examples/sinks/\", \"644\"]";
    assert!(manifest.contains(examples));
}

/// Returns the lines of a unit that confine it, without comments.
fn confinement(unit: &str) -> Vec<String> {
    let text = file(&format!("../../packaging/agg/{unit}.service"));
    let (_, rest) = text.split_once("ProtectSystem=strict\n").unwrap();
    let (lines, _) = rest.split_once("\n[Install]\n").unwrap();
    let lines = lines.lines().filter(|line| !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

#[test]
fn agg_serve_is_confined_like_the_poller() {
    assert_eq!(confinement("agg-serve"), confinement("agg-poll"));
}

/// With the installed options and the installed configuration of the poller, at other addresses.
#[test]
fn agg_serve_reads_the_servers_of_the_poller() {
    let Some(server) = Server::start() else {
        return;
    };
    let () = server.ask("ACL SETUSER poller on >s3cret ~* -@all +info +scan +agg.info +agg.scan");
    let _: i64 = server.ask("AGG.STAT web1 cpu.load 12.5");
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(at("password"), "s3cret").unwrap();
    let config = file("../../packaging/agg/poller.toml")
        .replace("redis://127.0.0.1:7777", &server.url())
        .replace("/etc/agg", dir.path().to_str().unwrap())
        .replace("/var/lib/agg", dir.path().to_str().unwrap());
    std::fs::write(at("poller.toml"), config).unwrap();
    let environment = file("../../packaging/agg/serve.env");
    let mut lines = environment.lines();
    let options = lines.find_map(|line| line.strip_prefix("AGG_OPTIONS="));
    let options = options.unwrap().replace("/etc/agg", &at(""));
    let page = format!("127.0.0.1:{}", free_port());
    let command = format!("serve {options} --listen {page}");
    let mut serve = Running::start(&mut agg("redis://unused", &command));
    until("the live value is served", || {
        let metrics = ureq::get(format!("http://{page}/metrics")).call().ok()?;
        let metrics = metrics.into_body().read_to_string().unwrap();
        metrics
            .contains("\ncpu_load_last{node=\"web1\"} 12.5\n")
            .then_some(())
    });
    assert!(serve.end_by("TERM").success());
}

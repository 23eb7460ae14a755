//! The dashboard of errors and losses: a real Prometheus that scrapes a poller and a listener answers every query.

use std::collections::BTreeMap;
use std::net::UdpSocket;

use super::{Dashboard, render, variable_query};
use crate::support::place::{Place, settings};
use crate::support::prometheus::Prometheus;
use crate::support::{Running, Server, agg, free_port, until};

#[test]
fn errors_and_invalid_input_of_running_programs_are_shown() {
    let Some(server) = Server::start() else {
        return;
    };
    let (page, listener_page, statsd) = (free_port(), free_port(), free_port());
    // The poller drains nothing, so that the errors stay pending.
    let route = "[[route]]\nqueues = [\"HOUR\"]\nsinks = [\"out\"]\n\
                 [sink.out]\ntype = \"file\"\npath = \"{dir}/out\"\n";
    let config = format!(
        "listen = \"127.0.0.1:{page}\"\n{}",
        settings(&server, route)
    );
    let place = Place::new(&config);
    for error in ["disk", "network"] {
        let _: redis::Value = server.ask(&format!("AGG.ERROR web1 {error}"));
    }
    let _poller = place.start();
    let line = format!(
        "listen --node web1 --statsd 127.0.0.1:{statsd} --listen 127.0.0.1:{listener_page}"
    );
    let _listener = Running::start(&mut agg(&server.url(), &line));
    let jobs = [("agg-poller", page), ("agg-listener", listener_page)];
    let Some(prometheus) = Prometheus::scraping(&jobs) else {
        return;
    };
    until("the listener listens", || {
        let url = format!("http://127.0.0.1:{listener_page}/readyz");
        ureq::get(url).call().ok()
    });

    let dashboard = Dashboard::read("errors-prometheus.json");
    let mut values = BTreeMap::from([
        ("__range".to_owned(), "1h".to_owned()),
        ("__rate_interval".to_owned(), "1m".to_owned()),
    ]);
    let variable = &dashboard.variables()[1];
    let selector = variable_query(variable)
        .strip_prefix("label_values(")
        .unwrap();
    let selector = selector.strip_suffix(", instance)").unwrap();
    until("both programs are known", || {
        let found = prometheus.get("label/instance/values", &[("match[]", selector)]);
        (found.as_array().unwrap().len() == 2).then_some(())
    });
    let all = variable["allValue"].as_str().unwrap().to_owned();
    values.insert("instance".to_owned(), all);

    let value = |title: &str| -> Option<f64> {
        let queries = dashboard.queries();
        let (_, text) = queries.iter().find(|(of, _)| *of == title).unwrap();
        let found = prometheus.get("query", &[("query", &render(text, &values))]);
        found["result"][0]["value"][1].as_str()?.parse().ok()
    };
    assert_eq!(value("Invalid input"), Some(0.0));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    until("invalid input is shown", || {
        // Of a reason that is new the first count is no increase.
        socket
            .send_to(b"neither name nor value", ("127.0.0.1", statsd))
            .unwrap();
        value("Invalid input").filter(|count| *count > 0.0)
    });
    until("pending errors are shown", || {
        value("Errors pending").filter(|count| *count == 2.0)
    });
    for (title, text) in dashboard.queries() {
        let text = render(text, &values);
        until(&format!("data for {title}: {text}"), || {
            let found = prometheus.get("query", &[("query", &text)]);
            (!found["result"].as_array().unwrap().is_empty()).then_some(())
        });
    }
}

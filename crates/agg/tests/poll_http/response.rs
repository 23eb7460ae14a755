//! Responses with status 200 that do not confirm a write.

use super::raw_server;
use crate::support::Server;
use crate::support::place::{Place, names, settings, until_empty, windows};
use crate::support::stub::Stub;

/// A page with which a portal or a proxy answers everything, and then the real answer.
fn page_first(status: u16, body: &'static str) -> Stub {
    Stub::start(move |before, _| match before {
        0 => (
            200,
            "Content-Type: text/html\r\n",
            "<!DOCTYPE html><p>Sign in</p>".into(),
        ),
        _ => (
            status,
            "Content-Type: application/json; charset=utf-8\r\n",
            body.into(),
        ),
    })
}

#[test]
fn page_with_status_200_does_not_count_as_stored() {
    let Some(server) = Server::start() else {
        return;
    };
    let sink = |more: &str| {
        format!("[[route]]\nqueues = [\"MIN\"]\nsinks = [\"db\"]\n[sink.db]\n{more}\n")
    };
    for (round, (more, stub)) in [
        (
            "type = \"influxdb\"\ndatabase = \"grid\"",
            page_first(204, ""),
        ),
        ("type = \"http\"", page_first(200, "stored")),
        (
            "type = \"http\"\nexpect = { content-type = \"application/json\" }",
            page_first(200, "{}"),
        ),
        (
            "type = \"http\"\nexpect = { body = \"*\\\"ok\\\":true*\" }",
            page_first(200, "{\"ok\":true}"),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let node = format!("n{round}");
        windows(&server, &node, &names(1));
        let more = format!("{more}\nurl = \"{}\"", stub.url);
        let place = Place::new(&settings(&server, &sink(&more)));
        let mut running = place.start();
        let said = running.errors().next().unwrap();
        assert!(
            said.contains(
                "HTTP 200 with a response of type text/html that does not confirm the write"
            ),
            "{said}"
        );
        until_empty(&server, &[&*node], "MIN");
        let requests = stub.requests();
        assert_eq!(requests.len(), 2, "{more}");
        assert_eq!(requests[0].body, requests[1].body);
    }
}

#[test]
fn response_that_is_not_utf_8_or_is_incomplete_does_not_confirm_a_write() {
    let Some(server) = Server::start() else {
        return;
    };
    const INFLUX: &str = "type = \"influxdb\"\ndatabase = \"grid\"";
    const HTTP: &str = "type = \"http\"";
    for (round, (sink, first, expected)) in [
        (
            INFLUX,
            &b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=iso-8859-1\r\nContent-Length: 18\r\n\r\n\
               <html>gr\xfc\xdfe</html>"[..],
            "HTTP 200 with a response of type text/html that does not confirm the write",
        ),
        (
            INFLUX,
            b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 4\r\n\r\n\xff\xfe\x00\x80",
            "HTTP 200 with a response of type application/octet-stream that does not confirm the write",
        ),
        (
            INFLUX,
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
            "incomplete response: ",
        ),
        (
            HTTP,
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"ok\":true}",
            "incomplete response: ",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let (url, bodies) = raw_server(first, b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        let node = format!("n{round}");
        windows(&server, &node, &names(1));
        let routes = "[[route]]\nqueues = [\"MIN\"]\nsinks = [\"db\"]\n[sink.db]";
        let place = Place::new(&settings(
            &server,
            &format!("{routes}\n{sink}\nurl = \"{url}\"\n"),
        ));
        let mut running = place.start();
        let warning = running.errors().next().unwrap();
        assert!(warning.contains(expected), "{warning}");
        until_empty(&server, &[&*node], "MIN");
        let bodies = bodies.lock().unwrap();
        assert_eq!(bodies.len(), 2, "{expected}");
        assert_eq!(bodies[0], bodies[1]);
    }
}

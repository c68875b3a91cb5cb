//! The page `/events`, without NATS.

use conclave_tests::draft::vote;
use conclave_tests::host::{Host, Setup};
use conclave_tests::patience::within;
use conclave_tests::stub_server::StubServer;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;

/// Opens the page; its head has come.
async fn listen(host: &Host) -> Lines<BufReader<TcpStream>> {
    let mut stream = TcpStream::connect(host.http_addr()).await.unwrap();
    stream
        .write_all(b"GET /events HTTP/1.1\r\nHost: h\r\n\r\n")
        .await
        .unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut head = Vec::new();
    loop {
        let line = lines.next_line().await.unwrap().unwrap();
        if line.is_empty() {
            break;
        }
        head.push(line);
    }
    assert!(head[0].contains("200"), "{head:?}");
    assert!(head.concat().contains("text/event-stream"), "{head:?}");
    lines
}

#[tokio::test]
async fn the_page_shows_events_as_they_happen_and_ends_with_the_host() {
    let stub = StubServer::start().await.unwrap();
    let host = Setup::asking(&stub).unwrap().start().await.unwrap();
    let mut lines = within("the page", listen(&host)).await.unwrap();
    host.client()
        .await
        .unwrap()
        .run(vote(&["answer:yes"]))
        .await
        .unwrap();
    let mut subjects = Vec::new();
    let mut ids = 0;
    let seen = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            ids += usize::from(line.starts_with("id: "));
            if let Some(subject) = line.strip_prefix("event: ") {
                subjects.push(subject.to_owned());
            }
            if line.contains(r#"data: {"event_type":"deliberation.completed""#) {
                return;
            }
        }
    };
    within("the end of the deliberation", seen).await.unwrap();
    subjects.retain(|subject| !subject.starts_with("conclave.progress."));
    assert_eq!(
        subjects,
        [
            "ray.deliberation.started",
            "agent.response.completed",
            "orchestration.deliberation.completed"
        ]
    );
    assert!(ids >= 3);
    // An open page does not hold up the end of the host.
    let (status, _) = host.stop().await.unwrap();
    assert!(status.success());
}

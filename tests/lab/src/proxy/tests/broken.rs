//! Answers that break off, connections that take no more requests, and those that fall silent.

use super::*;

both! {
    cut_answer => an_answer_breaks_off_in_its_middle;
    cut_watch => a_watch_breaks_off_in_mid_event;
    close => an_answer_may_close_its_connection;
    silence => connections_fall_silent_and_new_ones_work;
}

async fn an_answer_breaks_off_in_its_middle(protocol: Protocol) {
    let bench = Bench::new(protocol).await;
    let rule = bench.proxy.add(Rule::any().nth(1), Action::CutAnswer(4));
    let mut client = bench.client().await;
    let mut body = client.get("/api/v1/pods").await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), r#"{"co"#);
    body.frame().await.unwrap().unwrap_err();
    assert_eq!(rule.wait_hit().await.server_status, Some(200));
    assert_eq!(bench.proxy.requests()[0].outcome, Outcome::Dropped);
    let mut client = bench.client().await;
    assert_eq!(text(client.get("/api/v1/pods").await.unwrap()).await, r#"{"count":2}"#);
}

async fn a_watch_breaks_off_in_mid_event(protocol: Protocol) {
    let bench = Bench::new(protocol).await;
    bench.proxy.add(Rule::new(Verb::Watch, "pods"), Action::CutAnswer(6));
    let mut client = bench.client().await;
    let mut events = client.get("/api/v1/pods?watch=true").await.unwrap().into_body();
    assert!(bench.upstream.send_event("one\n"));
    assert_eq!(events.frame().await.unwrap().unwrap().into_data().unwrap(), "one\n");
    assert!(bench.upstream.send_event("two\n"));
    assert_eq!(events.frame().await.unwrap().unwrap().into_data().unwrap(), "tw");
    events.frame().await.unwrap().unwrap_err();
}

async fn an_answer_may_close_its_connection(protocol: Protocol) {
    let bench = Bench::new(protocol).await;
    let Action::Answer { status, mut headers, body } = Action::answer_overloaded(1) else { panic!() };
    headers.push(("connection".into(), "close".into()));
    bench.proxy.add(Rule::any().nth(1), Action::Answer { status, headers, body });
    let mut client = bench.client().await;
    let answer = client.get("/version").await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (429, &"1".parse().unwrap()));
    text(answer).await;
    eventually("closed", || client.closed()).await;
    assert_eq!(bench.client().await.get("/version").await.unwrap().status(), 200);
}

async fn connections_fall_silent_and_new_ones_work(protocol: Protocol) {
    let bench = Bench::new(protocol).await;
    let mut client = bench.client().await;
    client.get("/version").await.unwrap();
    bench.proxy.silence_connections();
    let answer = tokio::spawn(client.send("GET", "/version", &[], ""));
    assert_eq!(bench.client().await.get("/version").await.unwrap().status(), 200);
    tokio::time::sleep(MOMENT).await;
    assert!(!answer.is_finished());
    assert_eq!(bench.upstream.seen().len(), 2);
}

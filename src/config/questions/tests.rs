//! What is asked, and what is refused because it cannot be meant.

use std::path::Path;

use super::*;
use crate::config::document::Document;
use crate::config::tables::tables;
use crate::decide::settings::ObjectField;

fn both(text: &str) -> Result<(Option<Query>, AfterSettings), ConfigError> {
    let document = Document::parse(Path::new("f"), text, &tables())?;
    let mut merged = Merged::default();
    merged.add(&document);
    questions(&merged).map(|(gates, after, _)| (gates.query, after))
}

#[test]
fn the_question_for_alerts_leaves_out_those_that_fire_for_good_and_those_to_ignore() {
    let text = "[prometheus]\nurl = 'http://p:9090/x/'\n[gates]\nalerts = true\nignore_alerts = ['a\"b']";
    let query = both(text).unwrap().0.unwrap();
    assert_eq!(
        query.expression,
        r#"ALERTS{alertstate="firing",alertname!~"Rebootd.+",alertname!="Watchdog",alertname!="InfoInhibitor",alertname!="a\"b"}"#
    );
    let Prometheus::Url { url, token_file: None, certificate_authority } = query.server else { panic!() };
    assert_eq!((url.as_str(), certificate_authority), ("http://p:9090/x", SYSTEMS_AUTHORITIES.into()));
}

#[test]
fn one_object_or_several_with_one_value_or_several() {
    let text = "[after]\nobject = { path = '/api/v1/x', field = 'a.b', equals = 'c' }";
    let one = both(text).unwrap().1.objects;
    let expected = ObjectField { path: "/api/v1/x".into(), field: "a.b".into(), equals: vec!["c".into()] };
    assert_eq!(one, [expected]);
    let text = "[[after.object]]\npath = '/apis/x'\nfield = 'items.*.a'\nequals = ['c', 'd']\n\
        [[after.object]]\npath = '/apis/y'\nfield = 'a'\nequals = 'e'";
    let two = both(text).unwrap().1.objects;
    assert_eq!((two.len(), two[0].equals.len()), (2, 2));
    assert!(both("[after]\nobject = []").unwrap().1.is_empty());
}

#[test]
fn what_cannot_be_meant_is_an_error_with_its_place() {
    for (text, message) in [
        ("[gates]\nalerts = true", "f:2:10: this needs [prometheus], with \"url\" or \"service\""),
        ("[prometheus]\nmeasure = 'up'", "f:2:11: this needs [prometheus], with \"url\" or \"service\""),
        ("[after]\nquery = 'up'", "f:2:9: this needs [prometheus], with \"url\" or \"service\""),
        ("[gates]\nignore_alerts = ['x']", "f:2:17: \"ignore_alerts\" has no effect without \"alerts\""),
        (
            "[gates]\nalerts = true\nquery = 'up'",
            "f:3:9: either \"query\" or \"alerts\", not both: a query may ask for ALERTS as well",
        ),
        (
            "[gates]\nquery = 'up'\n[prometheus]\nurl = 'http://p'\nservice = 'm/p:1'",
            "f:5:11: either \"url\" or \"service\", not both",
        ),
        (
            "[gates]\nquery = 'up'\n[prometheus]\nurl = 'http://p'\ncertificate_authority = '/x'",
            "f:5:25: this has no effect if \"url\" begins with http://",
        ),
        ("[gates]\nquery = ' '", "f:2:9: an empty expression"),
        ("[prometheus]\nurl = 'ftp://p'", "f:2:7: the server's address must begin with http:// or https://"),
        ("[after]\nat_limit = 'x'", "f:2:12: unknown value \"x\"; expected \"keep\" or \"release\""),
        (
            "[after]\nobject = { path = '/api/v1/x', field = 'a', equals = 1 }",
            "f:2:54: a text, or an array of texts",
        ),
        (
            "[after]\nobject = { path = '/api/v1/x', fild = 'a', equals = '1' }",
            "f:2:32: unknown key \"fild\" in [after.object]; did you mean \"field\"?",
        ),
        (
            "[after]\nobject = { path = '/api/v1/x', field = 'a..b', equals = '1' }",
            "f:2:40: \"a..b\" is not a field; write for example \"status.ceph.health\"",
        ),
    ] {
        assert_eq!(both(text).unwrap_err().to_string(), message);
    }
    assert!(both("[after]\nobject = { path = 'x', field = 'a', equals = 'b' }").is_err());
}

#[test]
fn a_token_needs_an_address_that_is_encrypted() {
    let error = |text: &str| both(text).unwrap_err().to_string();
    let token = "[prometheus]\ntoken_file = '/t'\n";
    assert_eq!(error(token), "f:2:14: this has no effect without \"url\"");
    assert!(error(&format!("{token}service = 'm/p:1'")).starts_with("f:2:14: this has no effect beside"));
    assert_eq!(
        error(&format!("{token}url = 'http://p'")),
        "f:2:14: the token would be sent unencrypted: \"url\" must begin with https://"
    );
    assert!(both(&format!("{token}url = 'https://p'")).is_ok());
}

//! Other ways out, and ways back: Resend, servers that know a message again, signatures, reports that come back.

use std::process::{Command, Stdio};

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::signature::RsaKeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use greenroom_mail::events::{DSN, Verified, store};
use greenroom_mail::{Report, Secrets, TransportKind};
use greenroom_sandbox::{Endpoint, Fault, Mishap, Point, Rule};

use super::{World, to_micros};

/// A world in which a mail of each class is about to be sent, with these settings.
async fn about_to_send(secrets: Secrets, change: impl FnOnce(&mut greenroom_mail::Settings)) -> World {
    let ahead = TimeDelta::days(14) - TimeDelta::hours(1);
    let world = World::with_secrets(Some(ahead), secrets, |campaigns, mail| {
        campaigns.window_closes = campaigns.window_opens;
        mail.timeout_secs = 1.try_into().unwrap();
        change(mail);
    })
    .await;
    world.on_trial("service", to_micros(world.now()) + TimeDelta::days(5)).await;
    world.waiting("marketing", world.now() - TimeDelta::days(3)).await;
    world
}

async fn by_resend() -> World {
    about_to_send(Secrets::default(), |mail| mail.transport = TransportKind::Resend).await
}

/// Returns the states of both messages, service first.
async fn lines(world: &World) -> Vec<String> {
    let sql = "select state || coalesce(' ' || reason, '') from greenroom.email_outbox order by class desc";
    sqlx::query_scalar(sql).fetch_all(world.db.pool()).await.unwrap()
}

fn every(endpoint: Endpoint, fault: Fault) -> Rule {
    Rule { times: None, ..Rule::next(endpoint, fault) }
}

fn error(status: u16, reason: &str) -> Fault {
    Fault::Error { status, reason: reason.to_owned(), retry_after_secs: None }
}

#[tokio::test]
async fn resend_takes_a_message_and_names_it() {
    let world = by_resend().await;
    world.tick().await;
    assert_eq!(lines(&world).await, ["sent", "sent"]);
    let mails = world.server.mails();
    let news = mails.iter().find(|mail| mail.to == ["marketing@example.test"]).unwrap();
    assert!(news.header("List-Unsubscribe").unwrap().starts_with("<https://house.test/u/v1."));
    assert_eq!(news.header("List-Unsubscribe-Post").as_deref(), Some("List-Unsubscribe=One-Click"));
    let names: Vec<Option<String>> =
        sqlx::query_scalar("select provider_message_id from greenroom.email_outbox")
            .fetch_all(world.db.pool())
            .await
            .unwrap();
    assert!(
        names.iter().flatten().all(|name| name.ends_with("-re")) && names.iter().all(Option::is_some),
        "{names:?}"
    );
}

#[tokio::test]
async fn what_resend_may_have_taken_is_asked_again_and_sent_once() {
    for (fault, taken) in
        [(Fault::Reset, 1), (error(500, "internal_server_error"), 0), (Fault::Delay { millis: 1_500 }, 0)]
    {
        let world = by_resend().await;
        world.server.inject(every(Endpoint::Resend, fault.clone()));
        world.tick().await;
        assert_eq!(lines(&world).await, ["unknown no_answer", "unknown no_answer"], "{fault:?}");
        assert!(world.taken("marketing") >= taken, "{fault:?}");
        world.server.clear_faults();
        world.advance(TimeDelta::minutes(2)).await;
        world.drain().await;
        assert_eq!(lines(&world).await, ["sent", "sent"], "{fault:?}");
        assert_eq!((world.taken("service"), world.taken("marketing")), (1, 1), "{fault:?}");
    }
}

#[tokio::test]
async fn after_a_day_resend_knows_a_message_no_more() {
    let world = by_resend().await;
    world.server.inject(every(Endpoint::Resend, Fault::Reset));
    world.tick().await;
    // Somebody takes the key back meanwhile; nothing of that says what became of the first try.
    world.server.clear_faults();
    world.server.inject(every(Endpoint::Resend, error(403, "invalid_api_key")));
    world.advance(TimeDelta::minutes(2)).await;
    world.drain().await;
    assert_eq!(lines(&world).await, ["unknown no_answer", "unknown no_answer"]);
    world.server.clear_faults();
    world.advance(TimeDelta::hours(25)).await;
    world.drain().await;
    assert_eq!(lines(&world).await, ["failed too_late", "unknown no_answer"]);
    assert_eq!((world.taken("service"), world.taken("marketing")), (1, 1));
}

#[tokio::test]
async fn what_resend_says_is_told_apart() {
    for (fault, wanted) in [
        (error(422, "validation_error"), "failed our_fault"),
        (error(429, "rate_limit_exceeded"), "queued deferred"),
        (error(429, "daily_quota_exceeded"), "queued unreached"),
        (error(401, "missing_api_key"), "queued unreached"),
        (error(409, "concurrent_idempotent_requests"), "unknown no_answer"),
    ] {
        let world = by_resend().await;
        world.server.inject(every(Endpoint::Resend, fault.clone()));
        world.tick().await;
        // A transport that rests has met one of them only.
        assert_eq!(lines(&world).await[0], wanted, "{fault:?}");
        assert!(world.server.mails().is_empty(), "{fault:?}");
    }
}

#[tokio::test]
async fn a_server_that_knows_a_header_is_asked_again() {
    let world = about_to_send(Secrets::default(), |mail| {
        mail.idempotency_header = "Resend-Idempotency-Key".to_owned();
    })
    .await;
    world.server.inject(every(Endpoint::Smtp, Fault::Mail(Mishap::Drop { at: Point::Dot })));
    world.tick().await;
    assert_eq!(lines(&world).await, ["unknown no_answer", "unknown no_answer"]);
    world.server.clear_faults();
    world.advance(TimeDelta::minutes(2)).await;
    world.drain().await;
    assert_eq!(lines(&world).await, ["sent", "sent"]);
    for mail in world.server.mails() {
        let key: sqlx::types::Uuid = mail.header("Resend-Idempotency-Key").unwrap().parse().unwrap();
        let known: bool =
            sqlx::query_scalar("select exists (select from greenroom.email_outbox where id = $1)")
                .bind(key)
                .fetch_one(world.db.pool())
                .await
                .unwrap();
        assert!(known, "the key is not the message's");
    }
}

const BOUNCE_KEY: &str = "a key of the tests and nothing else";

async fn with_return_paths() -> World {
    let secrets = Secrets { bounce_keys: Some(BOUNCE_KEY.into()), ..Secrets::default() };
    about_to_send(secrets, |mail| mail.bounce_domain = "bounces.house.test".to_owned()).await
}

fn report(to: &str, status: &str, action: &str) -> String {
    format!(
        "To: <{to}>\r\nMessage-ID: <{status}.{action}@mx.test>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=\"x\"\r\n\r\n\
         --x\r\nContent-Type: text/plain\r\n\r\nsorry\r\n--x\r\nContent-Type: message/delivery-status\r\n\r\n\
         Reporting-MTA: dns; mx.test\r\n\r\nFinal-Recipient: rfc822; somebody@else.test\r\nAction: {action}\r\n\
         Status: {status}\r\n\r\n--x--\r\n"
    )
}

/// Hands a report over, as a mail server does; tells whether it was about somebody.
async fn come_back(world: &World, report: &str) -> bool {
    let paths = world.mail.return_paths.as_ref().unwrap();
    let Report::About(event) = paths.read(report.as_bytes(), None) else { return false };
    let mut conn = world.db.pool().acquire().await.unwrap();
    store(&mut conn, DSN, &Verified::of(vec![event])).await.unwrap().unwrap();
    greenroom_mail::take_events(&mut conn).await.unwrap();
    drop(conn);
    world.drain().await;
    true
}

#[tokio::test]
async fn what_comes_back_reaches_its_message_and_a_forgery_nobody() {
    let world = with_return_paths().await;
    world.tick().await;
    let mails = world.server.mails();
    let path = |name: &str| {
        let to = [format!("{name}@example.test")];
        mails.iter().find(|mail| mail.to == to).unwrap().from.clone()
    };
    assert_ne!(path("service"), path("marketing"));
    let forged =
        greenroom_mail::ReturnPaths::new("bounces.house.test", &"the key of a forger".into()).unwrap();
    let Report::Nothing(_) = forged.read(report(&path("service"), "5.1.1", "failed").as_bytes(), None) else {
        panic!("another key opens it");
    };
    for to in
        ["marketing@example.test", "b+aaaa@bounces.house.test", &path("service").replacen("b+", "b+b", 1)]
    {
        assert!(!come_back(&world, &report(to, "5.1.1", "failed")).await, "{to}");
    }
    assert_eq!(lines(&world).await, ["sent", "sent"]);
    assert!(come_back(&world, &report(&path("marketing"), "5.7.1", "failed")).await);
    assert_eq!(lines(&world).await, ["sent", "bounced rejected"]);
    assert!(come_back(&world, &report(&path("service"), "5.1.1", "failed")).await);
    assert_eq!(lines(&world).await, ["bounced hard_bounce", "bounced rejected"]);
    let marked: Vec<String> =
        sqlx::query_scalar("select email from users where marketing_bounced_at is not null")
            .fetch_all(world.db.pool())
            .await
            .unwrap();
    assert_eq!(marked, ["service@example.test"], "a policy says nothing of the person");
}

#[tokio::test]
async fn a_reader_leaves_the_list_by_a_mail() {
    let world = with_return_paths().await;
    world.tick().await;
    let news = world.server.mails().into_iter().find(|mail| mail.to == ["marketing@example.test"]).unwrap();
    let list = news.header("List-Unsubscribe").unwrap();
    let address = list.split_once("<mailto:").unwrap().1.trim_end_matches('>');
    assert!(come_back(&world, &format!("To: {address}\r\nSubject: unsubscribe\r\n\r\n")).await);
    let left: Vec<String> = sqlx::query_scalar(
        "select email from users where marketing_unsubscribed_at is not null and not marketing_opt_in",
    )
    .fetch_all(world.db.pool())
    .await
    .unwrap();
    assert_eq!(left, ["marketing@example.test"]);
}

#[tokio::test]
async fn events_are_forgotten_when_they_are_old() {
    let world = with_return_paths().await;
    world.tick().await;
    let path = world.server.mails()[0].from.clone();
    assert!(come_back(&world, &report(&path, "4.4.1", "delayed")).await);
    let count = async || -> i64 {
        sqlx::query_scalar("select count(*) from greenroom.email_events")
            .fetch_one(world.db.pool())
            .await
            .unwrap()
    };
    sqlx::query(
        "insert into greenroom.email_events (provider, provider_event_id, event, processed_at)
         values ('mailgun token', 'x', 'token', greenroom.now())",
    )
    .execute(world.db.pool())
    .await
    .unwrap();
    let prune = async || {
        let job = world.jobs().build("mail.prune", "{}", None).unwrap();
        world.queue.enqueue_many(&[job]).await.unwrap();
        world.drain().await;
    };
    prune().await;
    assert_eq!(count().await, 2);
    world.advance(TimeDelta::hours(2)).await;
    prune().await;
    assert_eq!(count().await, 1, "a token is soon of no use");
    world.advance(TimeDelta::days(181)).await;
    prune().await;
    assert_eq!(count().await, 0);
}

/// Has every message of a world, as a server took it, looked at by Python's `dkim`, which knows our public key only.
const VERIFY: &str = r#"
import sys, dkim

def verifies(message):
    try:
        return dkim.DKIM(message).verify(dnsfunc=lambda name, timeout=5: record if name == b"s1._domainkey.house.test." else b"")
    except dkim.DKIMException:
        return False

record = sys.argv[1].encode()
for path in sys.argv[2:]:
    message = open(path, "rb").read()
    assert verifies(message), path
    names = sorted(name.decode().lower() for name in dkim.util.parse_tag_value(dkim.DKIM(message).headers[0][1])[b"h"].split(b":"))
    print(" ".join(names))
    broken = message.replace(b"Hi ", b"Ho ")
    assert broken != message and not verifies(broken), "a change of the body was not seen"
    broken = message.replace(b"Subject: ", b"Subject: Re: ", 1)
    assert broken != message and not verifies(broken), "a change of the subject was not seen"
    assert verifies(b"Received: by mx\r\n" + message.replace(b"To: ", b"To:   ", 1)), "spaces broke it"
"#;

#[tokio::test]
#[ignore = "needs Python and its module dkim"]
async fn needs_python_dkim_verifies_what_was_sent() {
    let python = std::env::var("GREENROOM_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let pair = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(der.as_ref())
    );
    let secrets = Secrets { dkim_key: Some(pem.into()), ..Secrets::default() };
    let world = about_to_send(secrets, |mail| {
        mail.dkim_selector = "s1".to_owned();
        mail.from = "Grünes Zimmer <hello@house.test>".to_owned();
    })
    .await;
    world.tick().await;
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<_> = world
        .server
        .mails()
        .iter()
        .enumerate()
        .map(|(place, mail)| {
            let path = folder.path().join(format!("{place}.eml"));
            std::fs::write(&path, &mail.data).unwrap();
            path
        })
        .collect();
    assert_eq!(paths.len(), 2);
    let record = world.mail.dkim_record().unwrap();
    let mut python = Command::new(python);
    let python = python.arg("-c").arg(VERIFY).arg(record.1).args(&paths).stderr(Stdio::piped());
    let said = python.output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let said = String::from_utf8(said.stdout).unwrap();
    let mut lines: Vec<_> = said.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "date from list-unsubscribe list-unsubscribe-post message-id mime-version subject to",
            "date from message-id mime-version subject to",
        ]
    );
}

//! What mail providers tell over HTTP: only what they have signed is stored, and once.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;

use super::*;

fn sign(key: &[u8], parts: &[&str]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    for part in parts {
        mac.update(part.as_bytes());
    }
    mac.finalize().into_bytes().to_vec()
}

async fn stored(world: &World) -> Vec<String> {
    let sql = "select provider || ' ' || event from greenroom.email_events order by created_at, provider";
    sqlx::query_scalar(sql).fetch_all(world.pool()).await.unwrap()
}

/// Sends an event as Resend does, signed at a time by a secret.
async fn resend(world: &World, id: &str, body: &str, secs: i64, secret: &str) -> u16 {
    let key = STANDARD.decode(secret.trim_start_matches("whsec_")).unwrap();
    let signature = STANDARD.encode(sign(&key, &[id, ".", &secs.to_string(), ".", body]));
    let request = world
        .request(Method::POST, "/webhooks/email/resend")
        .header("svix-id", id)
        .header("svix-timestamp", secs)
        .header("svix-signature", format!("v1,bm90IHRoaXMgb25l v1,{signature}"));
    request.body(body.to_owned()).send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn resend_is_believed_under_either_secret_and_not_for_long() {
    let world = World::new().await;
    let now = world.db.clock().now().timestamp();
    let body = json!({"type": "email.bounced", "created_at": "2026-11-01T10:00:00Z",
                      "data": {"email_id": "abc", "to": ["ada@example.test"], "bounce": {"type": "Permanent"}}})
    .to_string();
    let (old, new) = RESEND_SECRET.split_once(',').unwrap();
    assert_eq!(resend(&world, "one", &body, now, old).await, 200);
    assert_eq!(resend(&world, "one", &body, now, new).await, 200);
    assert_eq!(resend(&world, "two", &body, now, new).await, 200);
    assert_eq!(stored(&world).await, ["resend hard_bounce", "resend hard_bounce"]);
    let payload: String =
        sqlx::query_scalar("select string_agg(payload::text, ' ') from greenroom.email_events")
            .fetch_one(world.pool())
            .await
            .unwrap();
    assert!(!payload.contains("ada@"), "{payload}");
    assert_eq!(world.jobs().await, 1, "one job works off all of it");

    let other = STANDARD.encode("a secret of somebody else");
    for (secs, secret) in [(now, other.as_str()), (now - 301, new), (now + 360, new)] {
        assert_eq!(resend(&world, "three", &body, secs, secret).await, 401);
    }
    let changed = body.replace("abc", "abd");
    let key = STANDARD.decode(new.trim_start_matches("whsec_")).unwrap();
    let signature = STANDARD.encode(sign(&key, &["four", ".", &now.to_string(), ".", &body]));
    let request = world
        .request(Method::POST, "/webhooks/email/resend")
        .header("svix-id", "four")
        .header("svix-timestamp", now)
        .header("svix-signature", format!("v1,{signature}"));
    assert_eq!(request.body(changed).send().await.unwrap().status(), 401);
    let bare = world.request(Method::POST, "/webhooks/email/resend").body(body);
    assert_eq!(bare.send().await.unwrap().status(), 401);
    assert_eq!(stored(&world).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_mailgun_is_good_for_one_event() {
    let world = World::new().await;
    let now = world.db.clock().now().timestamp().to_string();
    let signature = hex(&sign(MAILGUN_KEY.as_bytes(), &[&now, "a token"]));
    let send = async |event: &str, id: &str, signature: &str| {
        let body = json!({
            "signature": {"timestamp": now, "token": "a token", "signature": signature},
            "event-data": {"event": event, "id": id, "timestamp": 1_793_491_200.5,
                           "message": {"headers": {"message-id": "x@y.test"}}},
        });
        let request = world.request(Method::POST, "/webhooks/email/mailgun").body(body.to_string());
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(send("delivered", "one", &signature).await, 200);
    assert_eq!(send("delivered", "one", &signature).await, 200, "the same once more");
    assert_eq!(send("complained", "two", &signature).await, 401, "a signature that was seen elsewhere");
    assert_eq!(send("delivered", "three", &"0".repeat(64)).await, 401);
    assert_eq!(send("delivered", "three", "zz").await, 401);
    assert_eq!(stored(&world).await, ["mailgun delivered", "mailgun token token"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn postmark_knows_a_password_and_strangers_know_nothing() {
    let world = World::new().await;
    let send = async |path: &str, login: &str, body: &str| {
        let authorization = format!("Basic {}", STANDARD.encode(login));
        let request = world.request(Method::POST, path).header("authorization", authorization);
        request.body(body.to_owned()).send().await.unwrap().status().as_u16()
    };
    let body = json!({"RecordType": "SpamComplaint", "ID": 42, "MessageID": "m", "Type": "SpamComplaint",
                      "BouncedAt": "2026-11-01T10:00:00Z"})
    .to_string();
    assert_eq!(send("/webhooks/email/postmark", "postmark:wrong", &body).await, 401);
    assert_eq!(send("/webhooks/email/postmark", POSTMARK_LOGIN, "{").await, 401);
    assert_eq!(send("/webhooks/email/postmark", POSTMARK_LOGIN, &body).await, 200);
    assert_eq!(send("/webhooks/email/sendgrid", POSTMARK_LOGIN, &body).await, 404, "it has no secret here");
    assert_eq!(send("/webhooks/email/nobody", POSTMARK_LOGIN, &body).await, 404);
    let long = "x".repeat(1024 * 1024 + 1);
    assert_eq!(send("/webhooks/email/postmark", POSTMARK_LOGIN, &long).await, 413);
    assert_eq!(stored(&world).await, ["postmark complained"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ses_is_believed_by_its_topic_and_amazons_certificate_only() {
    let world = World::new().await;
    let notice = |topic: &str, url: &str| {
        json!({"Type": "Notification", "MessageId": "m", "TopicArn": topic, "Message": "{}", "Signature": "AAAA",
               "Timestamp": "2026-11-01T10:00:00.000Z", "SignatureVersion": "2", "SigningCertURL": url})
    };
    let amazons = "https://sns.eu-west-1.amazonaws.com/x.pem";
    for body in [
        notice("arn:aws:sns:eu-west-1:999999999999:mail", amazons),
        notice(SNS_TOPIC, "https://sns.eu-west-1.amazonaws.com.evil.test/x.pem"),
        notice(SNS_TOPIC, "http://127.0.0.1:9/x.pem"),
        json!({"Type": "Notification"}),
    ] {
        let request = world.request(Method::POST, "/webhooks/email/ses").body(body.to_string());
        assert_eq!(request.send().await.unwrap().status(), 401, "{body}");
    }
    assert!(stored(&world).await.is_empty());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

use super::*;

const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:mail";
const CERTIFICATE_URL: &str = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0.pem";

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(content.len()).unwrap();
    let mut out = vec![tag];
    if len < 128 {
        out.push(len.to_be_bytes()[1]);
    } else {
        out.push(0x82);
        out.extend(len.to_be_bytes());
    }
    out.extend(content);
    out
}

/// A key, and a certificate of it. Who has signed the certificate is not looked at: it comes from Amazon's host.
fn key_and_certificate() -> (RsaKeyPair, Vec<u8>) {
    let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let envelope: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
    // sha256WithRSAEncryption
    let algorithm = der(
        0x30,
        &[der(0x06, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b]), der(0x05, &[])].concat(),
    );
    let validity = der(0x30, &[der(0x17, b"200101000000Z"), der(0x17, b"400101000000Z")].concat());
    let body = [
        der(0xa0, &der(0x02, &[2])),
        der(0x02, &[1]),
        algorithm.clone(),
        der(0x30, &[]),
        validity,
        der(0x30, &[]),
        envelope.as_ref().to_vec(),
    ];
    let certificate = der(0x30, &[der(0x30, &body.concat()), algorithm, der(0x03, &[0, 0])].concat());
    let pem =
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(certificate));
    (key, pem.into_bytes())
}

/// Amazon, whose certificate is what it is made of; it remembers what it was asked for.
struct Amazon {
    key: RsaKeyPair,
    sns: Sns,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Amazon {
    fn new() -> Self {
        let (key, certificate) = key_and_certificate();
        Self::answering(key, Some(certificate))
    }

    fn answering(key: RsaKeyPair, answer: Option<Vec<u8>>) -> Self {
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let noted = Arc::clone(&asked);
        let fetch = move |_, url: Url| {
            noted.lock().unwrap().push(url.to_string());
            std::future::ready(answer.clone()).boxed()
        };
        let sns =
            Sns { topics: vec![TOPIC.to_owned()], fetch: Arc::new(fetch), certificates: Arc::default() };
        Self { key, sns, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn notice(kind: &str, message: &Value) -> Value {
        json!({
            "Type": kind, "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324", "TopicArn": TOPIC, "Message": message.to_string(),
            "Timestamp": "2026-11-01T10:00:00.000Z", "SignatureVersion": "2", "SigningCertURL": CERTIFICATE_URL,
        })
    }

    /// Signs as the documentation says: name and value of each part on a line.
    fn sign(&self, notice: &mut Value) {
        let names: &[&str] = match notice["Type"].as_str().unwrap() {
            "Notification" => &["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"],
            _ => &["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"],
        };
        let lines = names.iter().filter_map(|name| Some(format!("{name}\n{}\n", notice[*name].as_str()?)));
        let text: String = lines.collect();
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
        notice["Signature"] = STANDARD.encode(signature).into();
    }

    async fn take(&self, notice: &Value) -> Result<Verified, Refusal> {
        self.sns.verify(notice.to_string().as_bytes()).await
    }
}

fn told(kind: &str, more: &Value) -> Value {
    let mut told = json!({
        "notificationType": kind,
        "mail": {"messageId": "0102018f-ses", "timestamp": "2026-11-01T09:59:00.000Z", "destination": ["ada@example.test"],
                 "commonHeaders": {"messageId": "<ours@house.test>", "subject": "hello"}},
    });
    told.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    told
}

#[tokio::test]
async fn a_notice_of_a_topic_of_ours_is_believed_and_its_certificate_fetched_once() {
    let amazon = Amazon::new();
    let bounce = json!({"bounce": {"bounceType": "Permanent", "bounceSubType": "General", "timestamp": "2026-11-01T10:00:00Z"}});
    let mut notice = Amazon::notice("Notification", &told("Bounce", &bounce));
    amazon.sign(&mut notice);
    let taken = amazon.take(&notice).await.unwrap();
    let event = &taken.events[0];
    assert_eq!(
        (event.id.as_str(), event.happened),
        ("22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324", Happened::HardBounce)
    );
    assert_eq!(event.provider_message_id.as_deref(), Some("0102018f-ses"));
    assert_eq!(event.message_id.as_deref(), Some("<ours@house.test>"));
    assert_eq!(event.at.unwrap().to_rfc3339(), "2026-11-01T10:00:00+00:00");
    assert_eq!(amazon.take(&notice).await.unwrap(), taken);
    assert_eq!(amazon.asked(), [CERTIFICATE_URL]);

    notice["Subject"] = "something".into();
    assert_eq!(amazon.take(&notice).await, Err(Unverified.into()), "a part was added");
    amazon.sign(&mut notice);
    assert!(amazon.take(&notice).await.is_ok());
    for (name, value) in [
        ("Message", "{}"),
        ("Timestamp", "2026-11-01T10:00:01.000Z"),
        ("SignatureVersion", "3"),
        ("Signature", "AAAA"),
    ] {
        let mut changed = notice.clone();
        changed[name] = value.into();
        assert_eq!(amazon.take(&changed).await, Err(Unverified.into()), "{name}");
    }
    // What is signed in one way is not good in the other.
    notice["SignatureVersion"] = "1".into();
    assert_eq!(amazon.take(&notice).await, Err(Unverified.into()));
}

#[tokio::test]
async fn strangers_have_nobody_asked() {
    let amazon = Amazon::new();
    let good = Amazon::notice("Notification", &told("Delivery", &json!({})));
    let mut other = good.clone();
    other["TopicArn"] = "arn:aws:sns:eu-west-1:999999999999:mail".into();
    let mut notices = vec![other, json!({}), json!("x")];
    for url in [
        "http://sns.eu-west-1.amazonaws.com/x.pem",
        "https://sns.eu-west-1.amazonaws.com.evil.test/x.pem",
        "https://sns.evil.test/amazonaws.com/x.pem",
        "https://sns.eu-west-1.amazonaws.com:8443/x.pem",
        "https://evil@sns.eu-west-1.amazonaws.com/x.pem",
        "https://evil.test/?https://sns.eu-west-1.amazonaws.com/x.pem",
        "https://s3.eu-west-1.amazonaws.com/x.pem",
        "https://sns.a.b.amazonaws.com/x.pem",
    ] {
        let mut notice = good.clone();
        notice["SigningCertURL"] = url.into();
        notices.push(notice);
    }
    for mut notice in notices {
        if notice.is_object() && notice["Type"].is_string() {
            amazon.sign(&mut notice);
        }
        assert_eq!(amazon.take(&notice).await, Err(Unverified.into()), "{notice}");
    }
    assert!(amazon.asked().is_empty(), "{:?}", amazon.asked());
    assert!(is_amazons(&"https://sns.cn-north-1.amazonaws.com.cn/x.pem".parse().unwrap()));
}

#[tokio::test]
async fn a_subscription_is_confirmed_where_amazon_says_and_nowhere_else() {
    let amazon = Amazon::new();
    let mut notice = Amazon::notice("SubscriptionConfirmation", &json!("You have chosen to subscribe"));
    let url = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=t";
    notice["Token"] = "t".into();
    notice["SubscribeURL"] = url.into();
    amazon.sign(&mut notice);
    assert_eq!(amazon.take(&notice).await.unwrap(), Verified::of(Vec::new()));
    assert_eq!(amazon.asked(), [CERTIFICATE_URL, url]);
    notice["SubscribeURL"] = "https://evil.test/?Action=ConfirmSubscription".into();
    amazon.sign(&mut notice);
    assert_eq!(amazon.take(&notice).await, Err(Unverified.into()));
    assert_eq!(amazon.asked().len(), 2);
}

#[tokio::test]
async fn a_certificate_that_cannot_be_had_is_no_refusal_and_a_wrong_one_is_not_kept() {
    let (key, certificate) = key_and_certificate();
    let (_, other) = key_and_certificate();
    let mut amazon = Amazon::answering(key, None);
    let mut notice = Amazon::notice("Notification", &told("Delivery", &json!({})));
    amazon.sign(&mut notice);
    let answers = |answer: Option<Vec<u8>>| move |_, _: Url| std::future::ready(answer.clone()).boxed();
    assert_eq!(amazon.take(&notice).await, Err(Refusal::Unreached));
    for wrong in [other, b"<html>".to_vec()] {
        amazon.sns.fetch = Arc::new(answers(Some(wrong)));
        assert_eq!(amazon.take(&notice).await, Err(Unverified.into()));
    }
    amazon.sns.fetch = Arc::new(answers(Some(certificate)));
    assert!(amazon.take(&notice).await.is_ok());
}

#[test]
fn both_shapes_are_read_in_one_way() {
    let of = |kind: &str, more: Value| events("id", &told(kind, &more).to_string())[0].happened;
    let bounce =
        |kind: &str, sub: &str| of("Bounce", json!({"bounce": {"bounceType": kind, "bounceSubType": sub}}));
    assert_eq!(bounce("Permanent", "NoEmail"), Happened::HardBounce);
    assert_eq!(bounce("Transient", "MailboxFull"), Happened::SoftBounce);
    assert_eq!(bounce("Transient", "ContentRejected"), Happened::Rejected);
    assert_eq!(bounce("Undetermined", "Undetermined"), Happened::SoftBounce);
    assert_eq!(
        of("Complaint", json!({"complaint": {"complaintFeedbackType": "abuse"}})),
        Happened::Complained
    );
    assert_eq!(of("Complaint", json!({"complaint": {}})), Happened::Complained);
    assert_eq!(of("Complaint", json!({"complaint": {"complaintFeedbackType": "not-spam"}})), Happened::Other);
    assert_eq!(of("Reject", json!({"reject": {"reason": "Bad content"}})), Happened::Rejected);
    let all = json!({"subscription": {"newTopicPreferences": {"unsubscribeAll": true}}});
    assert_eq!(of("Subscription", all), Happened::Unsubscribed);
    let event = json!({"eventType": "Complaint", "mail": {"messageId": "m"}, "complaint": {}});
    assert_eq!(
        events("id", &event.to_string())[0].happened,
        Happened::Complained,
        "an event of a configuration set"
    );
    let delivered = json!({"delivery": {"timestamp": "2026-11-01T10:00:05Z"}});
    assert_eq!(of("Delivery", delivered), Happened::Delivered);
    assert_eq!(of("DeliveryDelay", json!({})), Happened::Deferred);
    assert_eq!(of("Send", json!({})), Happened::Other);
    assert!(events("id", "Successfully validated SNS topic").is_empty());
}

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr as _;

use greenroom_queue::doctor::Health;
use hickory_resolver::proto::op::{Message as Dns, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, MX, PTR, TXT};
use hickory_resolver::proto::rr::{Name, Record, RecordType};
use tokio::net::UdpSocket;

use super::*;

/// A server that knows what it is told, by kind and name.
async fn names(known: &[(RecordType, &str, &str)]) -> Names {
    let mut answers: HashMap<(RecordType, String), Vec<RData>> = HashMap::new();
    for (kind, name, value) in known {
        let data = match kind {
            RecordType::TXT => RData::TXT(TXT::new(vec![(*value).to_owned()])),
            RecordType::MX => RData::MX(MX::new(10, Name::from_str(value).unwrap())),
            RecordType::A => RData::A(A(value.parse().unwrap())),
            RecordType::PTR => RData::PTR(PTR(Name::from_str(value).unwrap())),
            _ => unreachable!(),
        };
        answers.entry((*kind, format!("{name}."))).or_default().push(data);
    }
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address: SocketAddr = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        while let Ok((read, asker)) = socket.recv_from(&mut buffer).await {
            let asked = Dns::from_vec(&buffer[..read]).unwrap();
            let query = asked.queries[0].clone();
            let mut answer = Dns::response(asked.metadata.id, asked.metadata.op_code);
            answer.metadata.message_type = MessageType::Response;
            answer.metadata.recursion_available = true;
            let found = answers.get(&(query.query_type(), query.name().to_string().to_lowercase()));
            answer.metadata.response_code =
                if found.is_some() { ResponseCode::NoError } else { ResponseCode::NXDomain };
            for data in found.into_iter().flatten() {
                answer.add_answer(Record::from_rdata(query.name().clone(), 60, data.clone()));
            }
            answer.add_query(query);
            socket.send_to(&answer.to_vec().unwrap(), asker).await.unwrap();
        }
    });
    Names::at(address.ip(), address.port()).unwrap()
}

fn health(finding: &Finding) -> (Health, &str) {
    (finding.health, &finding.says)
}

#[tokio::test]
async fn one_spf_record_with_an_end_is_wanted() {
    use RecordType::TXT;
    let names = names(&[
        (TXT, "good.test", "google-site-verification=x"),
        (TXT, "good.test", "v=spf1 include:_spf.provider.test ~all"),
        (TXT, "open.test", "v=spf1 +all"),
        (TXT, "endless.test", "v=spf1 mx"),
        (TXT, "two.test", "v=spf1 -all"),
        (TXT, "two.test", "V=SPF1 mx -all"),
        (TXT, "other.test", "v=spf10 -all"),
    ])
    .await;
    for (domain, wanted) in [
        ("good.test", Health::Ok),
        ("open.test", Health::Problem),
        ("endless.test", Health::Warning),
        ("two.test", Health::Problem),
        ("other.test", Health::Problem),
        ("none.test", Health::Problem),
    ] {
        let found = spf(domain, &names).await;
        assert_eq!(found.health, wanted, "{domain}: {}", found.says);
        assert_eq!(found.advice.is_none(), wanted == Health::Ok, "{domain}");
    }
}

#[tokio::test]
async fn a_policy_may_stand_above_and_bounces_want_a_server() {
    use RecordType::{MX, TXT};
    let names = names(&[
        (TXT, "_dmarc.house.test", "v=DMARC1; p=reject"),
        (TXT, "_dmarc.other.test", "something else"),
        (MX, "bounces.house.test", "mx.house.test."),
    ])
    .await;
    assert_eq!(
        health(&dmarc("house.test", &names).await),
        (Health::Ok, "_dmarc.house.test: \"v=DMARC1; p=reject\"")
    );
    assert_eq!(dmarc("mail.eu.house.test", &names).await.health, Health::Ok);
    assert_eq!(dmarc("other.test", &names).await.health, Health::Problem);
    assert_eq!(
        health(&bounces("bounces.house.test", &names).await),
        (Health::Ok, "what comes back to bounces.house.test is taken by mx.house.test.")
    );
    assert_eq!(bounces("house.test", &names).await.health, Health::Problem);
    assert_eq!(alignment("bounces.house.test", "house.test").health, Health::Ok);
    assert_eq!(alignment("house.test", "mail.house.test").health, Health::Ok);
    assert_eq!(alignment("myhouse.test", "house.test").health, Health::Warning);
}

#[tokio::test]
async fn an_address_has_a_name_that_leads_back() {
    use RecordType::{A, PTR};
    let names = names(&[
        (A, "mx.house.test", "192.0.2.1"),
        (A, "one-way.house.test", "192.0.2.2"),
        (PTR, "1.2.0.192.in-addr.arpa", "mx.house.test."),
        (PTR, "2.2.0.192.in-addr.arpa", "mx.house.test."),
    ])
    .await;
    assert_eq!(name_of_server("mx.house.test", &names).await.health, Health::Ok);
    assert_eq!(name_of_server("192.0.2.1", &names).await.health, Health::Ok);
    let one_way = name_of_server("one-way.house.test", &names).await;
    assert_eq!(
        health(&one_way),
        (Health::Warning, "192.0.2.2 of one-way.house.test has no name that leads back to it")
    );
    assert_eq!(name_of_server("nowhere.house.test", &names).await.health, Health::Warning);
}

#[tokio::test]
async fn nobody_to_ask_says_nothing_about_us() {
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = silent.local_addr().unwrap();
    drop(silent);
    let names = Names::at(address.ip(), address.port()).unwrap();
    assert_eq!(spf("house.test", &names).await.health, Health::Warning);
}

#[test]
fn a_message_that_has_arrived_tells_what_its_receiver_thought() {
    let eml = |results: &str, signed: &str, post: &str| {
        format!(
            "Authentication-Results: mx.receiver.test;\r\n {results}\r\n\
             Authentication-Results: forged.test; spf=pass; dkim=pass; dmarc=pass\r\n\
             DKIM-Signature: v=1; a=rsa-sha256; d=house.test; s=s;\r\n\th={signed};\r\n b=abc\r\n\
             From: hello@house.test\r\nList-Unsubscribe: <https://house.test/u/x>\r\n{post}\r\nhello\r\n"
        )
    };
    let post = "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n";
    let of = |eml: String| -> Vec<_> {
        message(eml.as_bytes()).into_iter().map(|found| (found.check, found.health)).collect()
    };
    let both = "From:To:list-unsubscribe:\r\n\tList-Unsubscribe-Post";
    let good = of(eml(
        "spf=pass smtp.mailfrom=house.test; dkim=fail; dkim=pass header.d=house.test; dmarc=pass (p=NONE)",
        both,
        post,
    ));
    assert_eq!(
        good,
        [("SPF", Health::Ok), ("DKIM", Health::Ok), ("DMARC", Health::Ok), ("one click", Health::Ok)]
    );
    let bad = of(eml("spf=softfail; dkim=fail", "From:List-Unsubscribe", post));
    assert_eq!(
        bad,
        [
            ("SPF", Health::Problem),
            ("DKIM", Health::Problem),
            ("DMARC", Health::Warning),
            ("one click", Health::Problem)
        ]
    );
    assert_eq!(of(eml("spf=pass", both, ""))[3], ("one click", Health::Problem));
    assert_eq!(
        of("From: hello@house.test\r\n\r\nhello\r\n".to_owned()),
        [("verdicts", Health::Warning), ("one click", Health::Warning)]
    );
    assert_eq!(of(String::new()), [("message", Health::Problem)]);
}

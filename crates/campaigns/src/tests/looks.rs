//! What each mail looks like: all of its bytes, for people to read when they change.

use greenroom_mail::{Class, Preview};
use greenroom_model::UserId;

use super::World;
use crate::{EXPIRED, NOTICES, TRIAL, WAITLIST, sample};

#[tokio::test]
async fn each_mail_is_as_it_was() {
    let world = World::new(None).await;
    let now = "2026-11-01T10:00:00Z".parse().unwrap();
    let user = UserId("018f3c1e-7b1a-7c3d-9e2f-1a2b3c4d5e6f".parse().unwrap());
    let series =
        TRIAL.iter().chain([&EXPIRED]).chain(&WAITLIST).map(|step| (step.campaign, step.name, step.class));
    let notices = NOTICES.map(|name| ("notices", name, Class::Service));
    for (campaign, step, class) in series.chain(notices) {
        let what = Preview {
            campaign,
            step,
            class,
            user,
            to: "ada@example.test",
            full_name: Some("Ada <Countess> Lovelace"),
            params: sample(campaign, step, now, world.campaigns.by()),
            now,
            is_test: false,
        };
        let composed = world.mail.preview(&what).unwrap();
        let eml = String::from_utf8(composed.bytes).unwrap().replace("\r\n", "\n");
        // Both are made of the id, which is another each time.
        let id = composed.id.simple().to_string();
        let name = eml.lines().find(|line| line.starts_with("Message-ID")).unwrap().to_owned();
        let eml = eml.replace(&id, "ID").replace(&name, "Message-ID: <ID@greenroom.localhost>");
        insta::with_settings!({omit_expression => true, prepend_module_to_snapshot => false}, {
            insta::assert_snapshot!(format!("{campaign}_{step}"), eml);
        });
        for part in [&composed.html, &composed.txt, &composed.subject] {
            assert!(!part.contains("{{") && !part.contains("{%"), "{campaign}.{step}: {part}");
        }
        assert_eq!(composed.html.matches("<h1").count(), 1, "{campaign}.{step}");
        assert!(composed.html.contains("lang=\"en\""), "{campaign}.{step}");
        assert!(!composed.html.contains("<Countess>"), "a name is not a tag");
        let is_news = composed.html.contains("Unsubscribe from these mails");
        assert_eq!(is_news, class == Class::Marketing, "{campaign}.{step}");
    }
}

#[test]
fn a_template_that_asks_for_what_there_is_not_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("trial")).unwrap();
    let path = folder.path().join("trial/7d.txt");
    let load = || greenroom_mail::Templates::load(&crate::sources(), folder.path().to_str().unwrap());
    std::fs::write(&path, "{{ name }}, {{ days_lfet }} days").unwrap();
    let error = load().unwrap_err().to_string();
    assert!(error.starts_with("the template trial/7d.txt: it asks for days_lfet"), "{error}");
    std::fs::write(&path, "{% if %}").unwrap();
    let error = load().unwrap_err().to_string();
    assert!(error.starts_with("the template trial/7d.txt: syntax error"), "{error}");
    std::fs::write(&path, "{{ name }}, {{ days_left }} days").unwrap();
    assert_ne!(
        load().unwrap().version(),
        greenroom_mail::Templates::load(&crate::sources(), "").unwrap().version()
    );
}

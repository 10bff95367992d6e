use super::*;

const KEY: &str = "a key of the tests and nothing else";

fn paths() -> ReturnPaths {
    ReturnPaths::new("bounces.house.test", &SecretString::from(KEY)).unwrap()
}

/// A report as Postfix writes it.
fn report(to: &str, fields: &str) -> String {
    format!(
        "From: MAILER-DAEMON@mx.example (Mail Delivery System)\r\nTo: {to}\r\nSubject: Undelivered Mail Returned to Sender\r\n\
         Date: Sun, 01 Nov 2026 10:00:00 +0000\r\nMessage-ID: <20261101100000.1@mx.example>\r\nAuto-Submitted: auto-replied\r\n\
         MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=\"x\"\r\n\r\n\
         --x\r\nContent-Type: text/plain\r\n\r\nI am sorry.\r\n\
         --x\r\nContent-Description: Delivery report\r\nContent-Type: message/delivery-status\r\n\r\n\
         Reporting-MTA: dns; mx.example\r\nX-Postfix-Queue-ID: 4A\r\nArrival-Date: Sun,  1 Nov 2026 09:59:58 +0000\r\n\r\n\
         {fields}\r\n\
         --x\r\nContent-Type: message/rfc822\r\n\r\nSubject: hello\r\n\r\ntext\r\n--x--\r\n"
    )
}

fn happened(fields: &str) -> Happened {
    let id = Uuid::now_v7();
    match paths().read(report(&paths().of(id), fields).as_bytes(), None) {
        Report::About(event) => {
            assert_eq!(event.message, Some(id));
            event.happened
        }
        Report::Nothing(why) => panic!("{why}"),
    }
}

#[test]
fn a_path_is_known_again_in_any_letters_and_cannot_be_changed() {
    let (paths, id) = (paths(), Uuid::now_v7());
    let path = paths.of(id);
    assert!(path.split('@').next().unwrap().len() <= 64, "{path}");
    assert!(path.parse::<lettre::Address>().is_ok(), "{path}");
    assert_eq!(paths.id(Use::Return, &path), Some(id));
    assert_eq!(paths.id(Use::Return, &path.to_uppercase()), Some(id));
    assert_eq!(paths.id(Use::Return, &format!("<{path}>")), Some(id));
    for place in 2..path.find('@').unwrap() {
        let mut changed = path.clone().into_bytes();
        changed[place] = if changed[place] == b'a' { b'b' } else { b'a' };
        assert_eq!(paths.id(Use::Return, std::str::from_utf8(&changed).unwrap()), None, "{place}");
    }
    for wrong in [
        "",
        "b+@bounces.house.test",
        "b@bounces.house.test",
        &path.replace("house", "other"),
        "é+é@bounces.house.test",
    ] {
        assert_eq!(paths.id(Use::Return, wrong), None, "{wrong}");
    }
    let other =
        ReturnPaths::new("bounces.house.test", &SecretString::from("another key of some length")).unwrap();
    assert_eq!(other.id(Use::Return, &path), None);
}

#[test]
fn a_report_says_what_happened_by_its_action_and_status() {
    let failed = |status: &str, said: &str| {
        happened(&format!(
            "Final-Recipient: rfc822; ada@example.test\r\nOriginal-Recipient: rfc822;ada@example.test\r\nAction: failed\r\n\
             Status: {status}\r\nRemote-MTA: dns; mx.example.test\r\nDiagnostic-Code: smtp;\r\n    {said}\r\n"
        ))
    };
    assert_eq!(failed("5.1.1", "550 5.1.1 <ada@example.test>: no such user"), Happened::HardBounce);
    assert_eq!(failed("5.0.0", "550 User unknown"), Happened::HardBounce);
    assert_eq!(failed("5.2.2", "552 5.2.2 the box is full"), Happened::SoftBounce);
    assert_eq!(failed("4.4.7", "451 4.4.1 no answer"), Happened::SoftBounce);
    assert_eq!(failed("5.7.1", "550 5.7.1 user unknown to our policy"), Happened::Rejected);
    assert_eq!(failed("5.0.0", "we do not like you"), Happened::Rejected);
    assert_eq!(
        happened("Final-Recipient: rfc822; a@b.test\r\nAction: delayed\r\nStatus: 4.4.1\r\n"),
        Happened::Deferred
    );
    assert_eq!(
        happened("Final-Recipient: rfc822; a@b.test\r\nAction: delivered\r\nStatus: 2.0.0\r\n"),
        Happened::Delivered
    );
    assert_eq!(
        happened("Final-Recipient: rfc822; a@b.test\r\nAction: expanded\r\nStatus: 2.0.0\r\n"),
        Happened::Other
    );
}

#[test]
fn what_is_forged_or_no_report_is_about_nobody() {
    let hard = "Final-Recipient: rfc822; ada@example.test\r\nAction: failed\r\nStatus: 5.1.1\r\n";
    let unsigned = "no return path of ours has a valid signature in it";
    let id = Uuid::now_v7();
    let forged = ReturnPaths::new("bounces.house.test", &SecretString::from("the key of a forger")).unwrap();
    for to in ["hello@house.test", "b+aaaa@bounces.house.test", &forged.of(id), "undisclosed-recipients:;"] {
        assert_eq!(paths().read(report(to, hard).as_bytes(), None), Report::Nothing(unsigned), "{to}");
    }
    let answer = format!("To: {}\r\nSubject: I am on holiday\r\n\r\nUntil Monday.\r\n", paths().of(id));
    assert!(
        matches!(paths().read(answer.as_bytes(), None), Report::Nothing(why) if why.starts_with("it is no report"))
    );
    assert!(matches!(paths().read(b"", None), Report::Nothing(_)));
    let without = report(&paths().of(id), "Final-Recipient: rfc822; a@b.test\r\n");
    assert_eq!(paths().read(without.as_bytes(), None), Report::Nothing("it is a report without an action"));
}

#[test]
fn the_path_is_found_where_servers_leave_it() {
    let hard = "Final-Recipient: rfc822; ada@example.test\r\nAction: failed\r\nStatus: 5.1.1\r\n";
    let (paths, id) = (paths(), Uuid::now_v7());
    let path = paths.of(id);
    let about = |bytes: String, to: Option<&str>| match paths.read(bytes.as_bytes(), to) {
        Report::About(event) => event.message,
        Report::Nothing(why) => panic!("{why}"),
    };
    // A server that hands it over knows the recipient, whatever the head says.
    assert_eq!(about(report("postmaster@house.test", hard), Some(&path)), Some(id));
    let delivered = format!("Delivered-To: {path}\r\n{}", report("postmaster@house.test", hard));
    assert_eq!(about(delivered, None), Some(id));
    let inside = report("postmaster@house.test", hard)
        .replace("Subject: hello", &format!("Return-Path: <{path}>\r\nSubject: hello"));
    assert_eq!(about(inside, None), Some(id));
}

#[test]
fn a_complaint_names_the_path_it_came_from() {
    let (paths, id) = (paths(), Uuid::now_v7());
    let complaint = |kind: &str| {
        format!(
            "From: fbl@mx.example\r\nTo: abuse@house.test\r\nSubject: FW: hello\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=feedback-report; boundary=\"x\"\r\n\r\n\
             --x\r\nContent-Type: text/plain\r\n\r\nThis is an abuse report.\r\n\
             --x\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: {kind}\r\nUser-Agent: SomeGenerator/1.0\r\n\
             Version: 1\r\nOriginal-Mail-From: <{}>\r\n\r\n\
             --x\r\nContent-Type: message/rfc822\r\n\r\nSubject: hello\r\n\r\ntext\r\n--x--\r\n",
            paths.of(id)
        )
    };
    for (kind, wanted) in
        [("abuse", Happened::Complained), ("opt-out", Happened::Unsubscribed), ("not-spam", Happened::Other)]
    {
        let Report::About(event) = paths.read(complaint(kind).as_bytes(), None) else { panic!("{kind}") };
        assert_eq!((event.message, event.happened), (Some(id), wanted));
    }
}

#[test]
fn the_same_report_has_the_same_name() {
    let hard = "Final-Recipient: rfc822; ada@example.test\r\nAction: failed\r\nStatus: 5.1.1\r\n";
    let (paths, id) = (paths(), Uuid::now_v7());
    let bytes = report(&paths.of(id), hard);
    let again = format!("Received: from elsewhere\r\n{bytes}");
    assert_eq!(paths.read(bytes.as_bytes(), None), paths.read(again.as_bytes(), None));
    let other = bytes.replace("20261101100000.1", "20261101100000.2");
    assert_ne!(paths.read(bytes.as_bytes(), None), paths.read(other.as_bytes(), None));
}

#[test]
fn whatever_comes_to_the_address_that_news_name_wants_no_more() {
    let (paths, id) = (paths(), Uuid::now_v7());
    let address = paths.to_leave(id);
    let of = |to: &str| paths.read(format!("To: {to}\r\nSubject: unsubscribe\r\n\r\n").as_bytes(), None);
    let Report::About(event) = of(&address) else { panic!("{address}") };
    assert_eq!((event.message, event.happened), (Some(id), Happened::Unsubscribed));
    assert_eq!(of(&address), of(&address.to_uppercase()), "twice is as good as once");
    // Neither address is good for what the other is for.
    assert_eq!(paths.id(Use::Return, &address), None);
    assert_eq!(paths.id(Use::Return, &address.replacen("u+", "b+", 1)), None);
    assert!(matches!(of(&paths.of(id).replacen("b+", "u+", 1)), Report::Nothing(_)));
}

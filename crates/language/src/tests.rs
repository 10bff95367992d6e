//! The reader that comes with the program, on sentences written for it.

use proptest::prelude::*;

use crate::{Category, Reader, Sentiment};

fn reader() -> Reader {
    Reader::embedded().unwrap()
}

#[test]
fn it_tells_what_people_want() {
    use Category::{Collab, Complaint, Praise, Question, Spam, Suggestion, Toxic};
    let mut reader = reader();
    for (text, wants) in [
        ("What camera did you use for this?", vec![Question]),
        ("¿dónde compraste esa mochila?", vec![Question]),
        ("この動画のカメラは何ですか", vec![Question]),
        ("who's watching this in 2026?", vec![]),
        (
            "Hello! Our brand would love to work with you on a sponsored video, where can we email you?",
            vec![Collab],
        ),
        ("Queremos patrocinar o seu canal, qual o email?", vec![Collab]),
        ("you should do a collab with the two of them", vec![Suggestion]),
        ("please make a video about tripods", vec![Suggestion]),
        ("Please make a follow-up about workbench!", vec![Suggestion]),
        ("Ciao, vorremmo sponsorizzare un tuo video, come possiamo contattarti?", vec![Collab]),
        ("The audio is out of sync and the sound is terrible, very disappointing", vec![Complaint]),
        ("Thank you so much, this is the best tutorial ever!", vec![Praise]),
        (
            "I invested $500 with @trader_anna and earned $9000 in a week, text her on whatsapp for forex signals",
            vec![Spam],
        ),
        ("shut up you stupid idiot, nobody likes you", vec![Toxic]),
        ("I was in Lisbon last summer", vec![]),
    ] {
        assert_eq!(reader.read(text).categories(), wants, "{text}");
    }
}

#[test]
fn it_tells_moods_and_languages() {
    let mut reader = reader();
    for (text, sentiment, language) in [
        ("I absolutely love this song, it makes me so happy", Sentiment::Positive, "en"),
        ("This is the worst thing I have ever seen, I hate it", Sentiment::Negative, "en"),
        ("The meeting is at the station on Monday", Sentiment::Neutral, "en"),
        ("ich liebe dieses Lied, es ist wunderschön", Sentiment::Positive, "de"),
        ("je déteste ça, c'est horrible et triste", Sentiment::Negative, "fr"),
        ("bhai ye phone kaunsa hai aur kitne ka hai", Sentiment::Neutral, "hi-Latn"),
        ("❤️❤️❤️", Sentiment::Positive, "und"),
        ("😡", Sentiment::Negative, "und"),
        ("", Sentiment::Neutral, "und"),
    ] {
        let reading = reader.read(text);
        assert_eq!(reading.language, language, "{text}");
        if language != "hi-Latn" {
            assert_eq!(reading.sentiment, sentiment, "{text}");
        }
    }
    for (text, language) in
        [("한국어로 씁니다", "ko"), ("สวัสดีครับ", "th"), ("Привет, как твои дела сегодня", "ru")]
    {
        assert_eq!(reader.read(text).language, language, "{text}");
    }
}

#[test]
fn disguises_are_seen_through() {
    let mut reader = reader();
    let plain = reader.read("this is so amazing");
    for disguised in
        ["THIS IS SOOOOOO AMAZING", "𝐭𝐡𝐢𝐬 𝐢𝐬 𝐬𝐨 𝐚𝐦𝐚𝐳𝐢𝐧𝐠", "th\u{200b}is is s\u{200d}o amaz\u{feff}ing"]
    {
        let reading = reader.read(disguised);
        assert_eq!((reading.sentiment, reading.language), (plain.sentiment, plain.language), "{disguised}");
        assert_eq!(reading.keywords, plain.keywords, "{disguised}");
    }
}

#[test]
fn it_is_told_what_a_text_is_about() {
    let keywords =
        reader().read("The lighting tutorial with the softbox was great, more lighting please").keywords;
    assert_eq!(keywords[..3], ["lighting", "tutorial", "softbox"]);
    // What is no word of English is no opinion there, and an apostrophe divides otherwise.
    let italian = reader().read("un'idea per il prossimo video: mostra la cucina della nonna").keywords;
    assert!(italian.contains(&"un'idea".to_owned()), "{italian:?}");
    // What is common comes last, though it is long; in Finnish nobody has listed what is.
    let finnish = reader().read("kiitos mutta mikrofoni ei ole hyvä");
    assert_eq!(finnish.language, "fi");
    assert_eq!(finnish.keywords, ["mikrofoni", "kiitos", "hyvä", "mutta", "ole"]);
}

/// Whatever machine this is: the same bits.
#[test]
fn a_reading_is_the_same_everywhere() {
    let mut reader = reader();
    let reading = reader.read("Where did you get that jacket? Love it 😍");
    let bits = [reading.confidence, reading.spam, reading.toxic].map(f32::to_bits);
    assert_eq!(reading, reader.clone().read("Where did you get that jacket? Love it 😍"));
    assert_eq!(bits, GOLDEN, "{bits:#010x?}");
}

const GOLDEN: [u32; 3] = [0x3f06_a990, 0x3c46_ec51, 0x3cab_1127];

proptest! {
    #[test]
    fn no_text_is_too_strange(text in any::<String>()) {
        let mut reader = reader();
        let reading = reader.read(&text);
        prop_assert!((0.0..=1.0).contains(&reading.confidence) && reading.keywords.len() <= 5);
        prop_assert_eq!(reader.read(&text), reading);
    }
}

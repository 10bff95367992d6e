//! VADER's sentiment and whatlang's language, behind the command line of `greenroom enrich`.

use std::io::{BufRead, Write};

use serde::{Deserialize, Serialize};
use vader_sentiment::SentimentIntensityAnalyzer;

#[derive(Deserialize)]
struct Comment {
    id: u64,
    text: String,
}

#[derive(Serialize)]
struct Said {
    id: u64,
    sentiment: &'static str,
    language: &'static str,
}

fn main() -> anyhow::Result<()> {
    let vader = SentimentIntensityAnalyzer::new();
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let comment: Comment = serde_json::from_str(&line?)?;
        // The thresholds that its authors give.
        let compound = vader.polarity_scores(&comment.text)["compound"];
        let sentiment = match compound {
            sum if sum >= 0.05 => "positive",
            sum if sum <= -0.05 => "negative",
            _ => "neutral",
        };
        let language = whatlang::detect_lang(&comment.text).map_or("und", |lang| tag(lang.code()));
        serde_json::to_writer(&mut out, &Said { id: comment.id, sentiment, language })?;
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

/// Returns the tag of BCP 47 for one of ISO 639-3, of the languages that are measured.
fn tag(code: &str) -> &'static str {
    match code {
        "ara" => "ar",
        "bul" => "bg",
        "ben" => "bn",
        "ces" => "cs",
        "dan" => "da",
        "deu" => "de",
        "ell" => "el",
        "eng" => "en",
        "spa" => "es",
        "pes" => "fa",
        "fin" => "fi",
        "fra" => "fr",
        "heb" => "he",
        "hin" => "hi",
        "hrv" => "hr",
        "hun" => "hu",
        "ind" => "id",
        "ita" => "it",
        "jpn" => "ja",
        "kor" => "ko",
        "nld" => "nl",
        "nob" => "no",
        "pol" => "pl",
        "por" => "pt",
        "ron" => "ro",
        "rus" => "ru",
        "srp" => "sr",
        "swe" => "sv",
        "tam" => "ta",
        "tel" => "te",
        "tha" => "th",
        "tur" => "tr",
        "ukr" => "uk",
        "urd" => "ur",
        "vie" => "vi",
        "cmn" => "zh",
        _ => "und",
    }
}

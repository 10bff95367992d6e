//! Comments written for this project, which come with it: they are measured without any folder of labelled texts.
//!
//! The phrases of the reader were mended by half of them; nobody has mended anything by the other half, which tells how
//! good it is. They are few, so one more or less is half a point.

use super::data::{Row, UNJUDGED, WRITTEN};
use super::measure::{Measured, Verdict, accuracy, macro_f1, one, tell};
use crate::reader::{Category, Reader, Sentiment};

/// Which of the comments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// Those by which phrases were mended.
    Seen,
    /// Those by which nothing was.
    Unseen,
}

/// A comment, and what a careful reader says of it.
#[derive(Clone, Debug)]
pub struct Comment {
    /// Its text, its language, and its categories as its label.
    pub row: Row,
    /// Whether its author is pleased, where that was judged.
    pub sentiment: Option<String>,
    /// What it is about, where that was judged.
    pub keywords: Option<Vec<String>>,
}

impl Sample {
    /// Returns the comments.
    pub fn comments(self) -> Vec<Comment> {
        let file = match self {
            Self::Seen => include_str!("../../texts/seen.tsv"),
            Self::Unseen => include_str!("../../texts/unseen.tsv"),
        };
        file.lines().enumerate().filter(|(_, line)| !line.starts_with('#')).filter_map(comment).collect()
    }

    /// Measures a reader by them.
    pub fn measure(self, reader: &mut Reader) -> Vec<Measured> {
        let comments = self.comments();
        let (mut moods, mut tongues, mut wants, mut about) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let judged: Vec<Row> = comments
            .iter()
            .filter_map(|comment| Some(Row { label: comment.sentiment.clone()?, ..comment.row.clone() }))
            .collect();
        for row in &judged {
            moods.push(Verdict { row, said: vec![reader.read(&row.text).sentiment.as_str().into()] });
        }
        let spoken: Vec<Row> = comments
            .iter()
            .map(|comment| Row { label: comment.row.lang.clone(), ..comment.row.clone() })
            .collect();
        for (comment, spoken) in comments.iter().zip(&spoken) {
            let reading = reader.read(&comment.row.text);
            tongues.push(Verdict { row: spoken, said: vec![reading.language.into()] });
            let said = reading.intents.iter().map(|(category, _)| category.as_str().into()).collect();
            wants.push(Verdict { row: &comment.row, said });
            if let Some(keywords) = &comment.keywords {
                about.push(f1_of(&reading.keywords, keywords));
            }
        }
        let mut all = Vec::new();
        let sentiments =
            [Sentiment::Negative, Sentiment::Neutral, Sentiment::Positive].map(Sentiment::as_str);
        tell(&mut all, "sentiment (macro F1)", macro_f1(&moods.iter(), &sentiments), moods.len());
        tell(&mut all, "language (accuracy)", accuracy(&tongues), tongues.len());
        let mut sum = 0.0;
        for category in Category::ALL {
            let (precision, f1) = one(&wants, category.as_str());
            tell(&mut all, &format!("{} (F1)", category.as_str()), f1, wants.len());
            tell(&mut all, "  precision", precision, wants.len());
            sum += f1;
        }
        #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
        {
            tell(&mut all, "intents (macro F1)", sum / Category::ALL.len() as f64, wants.len());
            let about_all = about.iter().sum::<f64>() / about.len().max(1) as f64;
            tell(&mut all, "keywords (F1 at 5)", about_all, about.len());
        }
        all
    }
}

fn comment((at, line): (usize, &str)) -> Option<Comment> {
    let [lang, sentiment, categories, keywords, text] =
        line.splitn(5, '\t').collect::<Vec<_>>().try_into().ok()?;
    let judged = |field: &str| Some(field.to_owned()).filter(|field| field != UNJUDGED);
    Some(Comment {
        row: Row {
            id: at.to_string(),
            text: text.to_owned(),
            label: categories.to_owned(),
            source: WRITTEN.to_owned(),
            lang: lang.to_owned(),
        },
        sentiment: judged(sentiment),
        keywords: judged(keywords).map(|words| words.split(' ').map(str::to_owned).collect()),
    })
}

/// Returns the F1 of the words that were told of one comment.
#[expect(clippy::cast_precision_loss, reason = "a few words")]
fn f1_of(said: &[String], meant: &[String]) -> f64 {
    let right = said.iter().filter(|word| meant.contains(word)).count();
    2.0 * right as f64 / (said.len() + meant.len()).max(1) as f64
}

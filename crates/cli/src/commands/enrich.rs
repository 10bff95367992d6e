//! `greenroom enrich`: what comments say, by the reader that comes with the program.
//!
//! NDJSON in, NDJSON out, in the same order and as it comes; no database, no network, no key.

use greenroom_comments::{Facts, Labels, Priority};
use greenroom_language::{Category, Reader, Sentiment};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{CliError, Terminal};

/// Far above the longest comment of any platform.
const LONGEST_LINE: u64 = 1024 * 1024;

#[derive(Deserialize)]
struct Comment<'a> {
    /// Whatever it is, it is given back as it came.
    #[serde(borrow)]
    id: &'a RawValue,
    text: String,
}

#[derive(Serialize)]
struct Enriched<'a> {
    id: &'a RawValue,
    sentiment: Sentiment,
    categories: Vec<Category>,
    language: String,
    keywords: Vec<String>,
    priority_score: u8,
}

pub(super) fn run(terminal: &mut Terminal) -> Result<(), CliError> {
    let mut reader = Reader::embedded().map_err(|error| CliError::Failed(error.to_string()))?;
    terminal.answer_lines(LONGEST_LINE, |number, line| {
        let comment: Comment<'_> = serde_json::from_str(line).map_err(|error| {
            CliError::Usage(format!("line {number} is no object with an id and a text: {error}"))
        })?;
        let labels = Labels::from(reader.read(&comment.text));
        let priority = Priority::of(&labels, &Facts::default());
        let enriched = Enriched {
            id: comment.id,
            sentiment: labels.sentiment,
            categories: labels.categories,
            language: labels.language,
            keywords: labels.keywords,
            priority_score: priority.score,
        };
        Ok(serde_json::to_string(&enriched)?)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::testing::Call;

    #[tokio::test]
    async fn comments_are_read_in_their_order() {
        let input = [
            json!({"id": "a", "text": "What camera did you use for this?"}),
            json!({"id": 7, "text": "Thank you so much, this is the best tutorial ever!", "more": "is let be"}),
            json!({"id": "c", "text": ""}),
        ];
        let input = input.map(|line| line.to_string()).join("\n");
        let said = Call::new(&["enrich"]).input(input).run().await;
        assert_eq!(said.code(), 0, "{}", said.err);
        let rows: Vec<Value> = said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let ids: Vec<&Value> = rows.iter().map(|row| &row["id"]).collect();
        assert_eq!(ids, [&json!("a"), &json!(7), &json!("c")]);
        assert_eq!(rows[0]["categories"], json!(["question"]));
        assert_eq!((&rows[1]["sentiment"], &rows[1]["categories"]), (&json!("positive"), &json!(["praise"])));
        assert_eq!((&rows[2]["language"], &rows[2]["keywords"]), (&json!("und"), &json!([])));
        let score = |row: &Value| row["priority_score"].as_u64().unwrap();
        assert!(score(&rows[0]) > score(&rows[1]) && score(&rows[1]) > score(&rows[2]));
    }

    #[tokio::test]
    async fn a_line_that_is_none_is_named_and_those_before_it_stay() {
        let said = Call::new(&["enrich"]).input("{\"id\": 1, \"text\": \"hi\"}\nnonsense\n").run().await;
        assert_eq!((said.code(), said.out.lines().count()), (2, 1));
        assert!(said.err.contains("line 2 is no object with an id and a text"), "{}", said.err);
    }
}

//! Every column of every table in `public`, beside the list of them in `columns.txt`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use greenroom_testkit::Database;

const TABLES_OF_THE_SEED: usize = 48;
const FILE: &str = "src/schema/columns.txt";
/// Its type depends on the server: a vector where pgvector is there, an array where not.
const EITHER: (&str, [&str; 2]) = ("ai_chat_messages.embedding", ["vector(1536)", "real[]"]);

#[tokio::test]
async fn every_table_and_column_is_there_with_its_type() {
    let db = Database::new().await;
    let rows: Vec<(String, String, String, bool)> = sqlx::query_as(
        "select c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull
           from pg_class c
           join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
          where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
            and c.relname <> '_sqlx_migrations'
          order by c.relname, a.attnum",
    )
    .fetch_all(db.pool())
    .await
    .unwrap();

    let tables: BTreeSet<&str> = rows.iter().map(|(table, ..)| table.as_str()).collect();
    assert_eq!(tables.len(), TABLES_OF_THE_SEED, "{tables:?}");

    let found: Vec<String> = rows
        .iter()
        .map(|(table, column, kind, not_null)| {
            let name = format!("{table}.{column}");
            // The extension's schema is the server's affair.
            let kind = kind.rsplit_once('.').map_or(kind.as_str(), |(_, kind)| kind);
            let kind =
                if name == EITHER.0 && EITHER.1.contains(&kind) { "vector(1536) or real[]" } else { kind };
            format!("{name} {kind}{}", if *not_null { " not null" } else { "" })
        })
        .collect();

    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&file, found.join("\n") + "\n").unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap();
    let expected: Vec<&str> = expected.lines().collect();
    let difference = difference(&expected, &found);
    assert!(
        difference.is_empty(),
        "the schema is not what tests/{FILE} lists:\n{difference}\
         If this is meant, run the test with UPDATE_SCHEMA=1 and commit the list with the migration."
    );
}

/// Returns what is only in one of both lists, a line each.
fn difference(expected: &[&str], found: &[String]) -> String {
    let mut text = String::new();
    for line in expected.iter().filter(|line| !found.iter().any(|f| f == *line)) {
        writeln!(text, "  missing  {line}").unwrap();
    }
    for line in found.iter().filter(|line| !expected.contains(&line.as_str())) {
        writeln!(text, "  new      {line}").unwrap();
    }
    text
}

#[test]
fn a_difference_names_what_is_missing_and_what_is_new() {
    let found = ["users.id uuid not null".to_owned(), "users.email citext".to_owned()];
    let text = difference(&["users.id uuid not null", "users.email text not null"], &found);
    assert_eq!(text, "  missing  users.email text not null\n  new      users.email citext\n");
}

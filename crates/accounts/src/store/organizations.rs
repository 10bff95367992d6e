//! `organizations`: tenants, and the short names they have in addresses.

use greenroom_model::OrganizationId;
use sqlx::PgConnection;

use crate::error::AccountsError;

/// What kind of tenant it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It looks after its own accounts.
    Business,
    /// It looks after those of others.
    Agency,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Business => "business",
            Self::Agency => "agency",
        }
    }
}

/// Words that would be taken for a part of the product.
const RESERVED: [&str; 10] =
    ["admin", "api", "app", "console", "demo", "greenroom", "help", "status", "support", "www"];

/// A name as short as this leaves room for a number behind it.
const SLUG_LETTERS: usize = 32;

/// Makes an organisation; its slug is made of its name, with a number behind it where that is taken.
pub async fn create(
    conn: &mut PgConnection,
    name: &str,
    kind: Kind,
) -> Result<OrganizationId, AccountsError> {
    let name = name.trim();
    if name.is_empty() {
        return Err(AccountsError::NoName);
    }
    let base = slug(name);
    let mut number = if RESERVED.contains(&base.as_str()) { 2 } else { 1 };
    loop {
        let slug = if number == 1 { base.clone() } else { format!("{base}-{number}") };
        let made = sqlx::query_scalar!(
            r#"insert into organizations (id, name, slug, type) values ($1, $2, $3, $4)
               on conflict (slug) do nothing
               returning id as "id: OrganizationId""#,
            OrganizationId::new().0,
            name,
            slug,
            kind.as_str(),
        )
        .fetch_optional(&mut *conn)
        .await?;
        match made {
            Some(id) => return Ok(id),
            None => number += 1,
        }
    }
}

/// Makes small letters, digits and single hyphens of a name.
fn slug(name: &str) -> String {
    let words = name.to_lowercase();
    let words: Vec<_> =
        words.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let cut: String = words.join("-").chars().take(SLUG_LETTERS).collect();
    match cut.trim_end_matches('-') {
        // The schema wants two letters; some names have none that it knows.
        short if short.len() < 2 => "organization".to_owned(),
        slug => slug.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use greenroom_testkit::Database;

    use super::*;

    #[test]
    fn a_slug_is_made_of_what_fits_an_address() {
        for (name, expected) in [
            ("Nordlicht Agency", "nordlicht-agency"),
            ("  Ärger & Söhne -- GmbH ", "rger-s-hne-gmbh"),
            ("東京", "organization"),
            ("X", "organization"),
            (&"ab ".repeat(40), "ab-ab-ab-ab-ab-ab-ab-ab-ab-ab-ab"),
        ] {
            assert_eq!(slug(name), expected, "{name}");
        }
    }

    #[tokio::test]
    async fn a_taken_or_reserved_slug_gets_a_number() {
        let db = Database::new().await;
        let mut conn = db.pool().acquire().await.unwrap();
        for name in ["Twin", "twin!", "TWIN", "API", "Demo"] {
            create(&mut conn, name, Kind::Agency).await.unwrap();
        }
        let slugs = sqlx::query_scalar!("select slug from organizations order by id").fetch_all(&mut *conn);
        assert_eq!(slugs.await.unwrap(), ["twin", "twin-2", "twin-3", "api-2", "demo-2"]);
        assert!(matches!(create(&mut conn, " ", Kind::Business).await, Err(AccountsError::NoName)));
    }
}

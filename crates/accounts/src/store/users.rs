//! `users`: people.

use greenroom_model::{OrganizationId, UserId};
use sqlx::PgConnection;

use crate::error::AccountsError;

/// A person to be.
#[derive(Debug, Clone, Copy)]
pub struct NewUser<'a> {
    /// Where they get mail.
    pub email: &'a str,
    /// How they are called.
    pub full_name: Option<&'a str>,
    /// The organisation that their things are shown with.
    pub organization: Option<OrganizationId>,
}

/// Makes a person; approval and trial are for later.
pub async fn create(conn: &mut PgConnection, new: NewUser<'_>) -> Result<UserId, AccountsError> {
    let email = address(new.email).ok_or(AccountsError::NotAnAddress)?;
    // A conflict is answered by no row instead of an error, which would end the caller's transaction.
    sqlx::query_scalar!(
        r#"insert into users (id, email, full_name, organization_id) values ($1, $2, $3, $4)
           on conflict do nothing
           returning id as "id: UserId""#,
        UserId::new().0,
        email,
        new.full_name,
        new.organization.map(|id| id.0),
    )
    .fetch_optional(conn)
    .await
    .map_err(AccountsError::from_reference)?
    .ok_or(AccountsError::AddressTaken)
}

/// Returns the address as it is stored: trimmed, and the domain in small letters, which means the same.
fn address(text: &str) -> Option<String> {
    let (local, domain) = text.trim().split_once('@')?;
    let stored = format!("{local}@{}", domain.to_lowercase());
    let fits = !local.is_empty() && !domain.is_empty() && !domain.contains('@') && stored.len() <= 254;
    fits.then_some(stored)
}

#[cfg(test)]
mod tests {
    use greenroom_testkit::Database;

    use super::*;

    #[test]
    fn an_address_has_one_at_between_two_parts() {
        assert_eq!(address(" Ada@Example.TEST\n").as_deref(), Some("Ada@example.test"));
        for text in ["", "@", "a@", "@b", "a@b@c", "ada", &format!("{}@b", "a".repeat(253))] {
            assert_eq!(address(text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn an_address_is_one_person() {
        let db = Database::new().await;
        let mut tx = db.pool().begin().await.unwrap();
        let new = |email| NewUser { email, full_name: Some("Ada"), organization: None };
        let first = create(&mut tx, new("ada@example.test")).await.unwrap();
        assert!(matches!(create(&mut tx, new("ADA@example.test")).await, Err(AccountsError::AddressTaken)));
        let other = create(&mut tx, new("bea@example.test")).await.unwrap();
        assert_ne!(first, other);
        let nowhere = NewUser { organization: Some(OrganizationId::new()), ..new("cleo@example.test") };
        assert!(matches!(create(&mut tx, nowhere).await, Err(AccountsError::NoSuchOrganization)));
    }
}

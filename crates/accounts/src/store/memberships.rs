//! `user_memberships`: who belongs where, and as what.

use greenroom_model::{OrganizationId, UserId};
use sqlx::PgConnection;

use crate::error::AccountsError;

/// What somebody is in an organisation, the mightiest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are the words of the trade")]
pub enum Role {
    Owner,
    Admin,
    Manager,
    Member,
}

impl Role {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Manager => "manager",
            Self::Member => "member",
        }
    }
}

/// Gives somebody a role in the whole organisation, in place of the one they had there.
pub async fn grant(
    conn: &mut PgConnection,
    user: UserId,
    organization: OrganizationId,
    role: Role,
) -> Result<(), AccountsError> {
    sqlx::query!(
        "insert into user_memberships (user_id, organization_id, role) values ($1, $2, $3)
         on conflict (user_id, organization_id, location_id) do update
            set role = excluded.role, updated_at = greenroom.now()
          where user_memberships.role <> excluded.role",
        user.0,
        organization.0,
        role.as_str(),
    )
    .execute(conn)
    .await
    .map_err(AccountsError::from_reference)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use greenroom_testkit::Database;

    use super::*;
    use crate::store::{organizations, users};

    #[tokio::test]
    async fn a_second_role_replaces_the_first() {
        let db = Database::new().await;
        let mut conn = db.pool().acquire().await.unwrap();
        let there = organizations::create(&mut conn, "Agency", organizations::Kind::Agency).await.unwrap();
        let new = users::NewUser { email: "ada@example.test", full_name: None, organization: Some(there) };
        let ada = users::create(&mut conn, new).await.unwrap();
        for role in [Role::Member, Role::Owner] {
            grant(&mut conn, ada, there, role).await.unwrap();
        }
        let roles = sqlx::query_scalar!("select role from user_memberships").fetch_all(&mut *conn);
        assert_eq!(roles.await.unwrap(), ["owner"]);

        let nobody = grant(&mut conn, UserId::new(), there, Role::Member).await;
        assert!(matches!(nobody, Err(AccountsError::NoSuchUser)));
        let nowhere = grant(&mut conn, ada, OrganizationId::new(), Role::Member).await;
        assert!(matches!(nowhere, Err(AccountsError::NoSuchOrganization)));
    }
}

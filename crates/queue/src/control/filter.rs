//! Which jobs: what people ask for, and the statements that find it.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use greenroom_model::UserId;
use uuid::Uuid;

use crate::{Fingerprint, QueueError};

/// A word that is not one of a closed list.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("use one of: {0}")]
pub struct NoSuchWord(&'static str);

macro_rules! words {
    ($(#[$doc:meta])* $name:ident: $list:literal { $($(#[$about:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name {$(
            $(#[$about])*
            $variant,
        )*}

        impl $name {
            /// Returns the word that stands in the row.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }

        impl FromStr for $name {
            type Err = NoSuchWord;

            fn from_str(word: &str) -> Result<Self, NoSuchWord> {
                match word {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(NoSuchWord($list)),
                }
            }
        }
    };
}

words! {
    /// How a job stands.
    Status: "pending, running, completed, failed" {
        /// It waits.
        Pending = "pending",
        /// A worker holds it.
        Running = "running",
        /// It did what it was asked.
        Completed = "completed",
        /// It ended otherwise.
        Failed = "failed",
    }
}

words! {
    /// Why a failed job is at its end.
    Failure: "exhausted, discarded, cancelled, quarantined" {
        /// Its attempts are used up.
        Exhausted = "exhausted",
        /// Its handler said never again.
        Discarded = "discarded",
        /// Somebody ended it.
        Cancelled = "cancelled",
        /// Its process died with it, again and again.
        Quarantined = "quarantined",
    }
}

/// A value in the payload, such as `account=…`; dots in the name lead into objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadValue {
    path: Vec<String>,
    value: String,
}

impl FromStr for PayloadValue {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (path, value) = text.split_once('=').ok_or("write NAME=VALUE, such as account=…")?;
        if path.split('.').any(str::is_empty) {
            return Err("write NAME=VALUE, with dots only between names, such as video.id=7");
        }
        Ok(Self { path: path.split('.').map(str::to_owned).collect(), value: value.to_owned() })
    }
}

/// Which jobs; what is `None` does not restrict.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// How it stands.
    pub status: Option<Status>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// The queue.
    pub queue: Option<String>,
    /// The kind.
    pub kind: Option<String>,
    /// The users whose jobs may be seen.
    pub users: Option<Vec<UserId>>,
    /// Enqueued at this instant or later.
    pub since: Option<DateTime<Utc>>,
    /// Enqueued before this instant.
    pub until: Option<DateTime<Utc>>,
    /// The group of what failed alike: those that stand failed, unless the status says otherwise.
    pub fingerprint: Option<Fingerprint>,
    /// What its error says, in any case.
    pub error: Option<String>,
    /// What its payload holds, compared as text.
    pub payload: Option<PayloadValue>,
}

impl Filter {
    /// Refuses a search for which there is no index unless something bounds it.
    pub(super) fn check(&self) -> Result<(), QueueError> {
        let reads_rows = self.payload.is_some() || self.error.is_some();
        let finished = matches!(self.status(), Some(Status::Completed | Status::Failed));
        if reads_rows && !finished && self.since.is_none() { Err(QueueError::Unbounded) } else { Ok(()) }
    }

    /// Returns the status that is asked for: a failure or a fingerprint alone speaks of failed jobs.
    pub(super) fn status(&self) -> Option<Status> {
        let failed = self.failure.is_some() || self.fingerprint.is_some();
        self.status.or(failed.then_some(Status::Failed))
    }

    /// Makes the values that the statements compare with.
    pub(super) fn values(&self) -> Values<'_> {
        let status = self.status();
        let users = self.users.as_ref().map(|users| users.iter().map(|user| user.0).collect());
        // Where the status has an index of its own, and few rows, that one and not the users' is walked.
        let (each_user, any_user) = match status {
            None | Some(Status::Completed) => (users, None),
            Some(_) => (None, users),
        };
        Values {
            status: status.map(Status::as_str),
            failure: self.failure.map(Failure::as_str),
            queue: self.queue.as_deref(),
            kind: self.kind.as_deref(),
            each_user,
            any_user,
            since: self.since.map(first_id),
            until: self.until.map(first_id),
            fingerprint: self.fingerprint.map(|fingerprint| fingerprint.0),
            error: self.error.as_deref(),
            path: self.payload.as_ref().map(|payload| payload.path.as_slice()),
            value: self.payload.as_ref().map(|payload| payload.value.as_str()),
        }
    }
}

/// Returns the least id that may be made in this millisecond: ids sort by their time, so the primary key
/// serves ranges of it.
pub(super) fn first_id(instant: DateTime<Utc>) -> Uuid {
    let millis = u128::from(instant.timestamp_millis().max(0).unsigned_abs()) & 0xffff_ffff_ffff;
    Uuid::from_u128(millis << 80)
}

/// A filter in the words of SQL.
pub(super) struct Values<'a> {
    pub(super) status: Option<&'a str>,
    pub(super) failure: Option<&'a str>,
    pub(super) queue: Option<&'a str>,
    pub(super) kind: Option<&'a str>,
    /// Users whose jobs are looked for one user after the other.
    pub(super) each_user: Option<Vec<Uuid>>,
    /// Users that are told apart job by job.
    pub(super) any_user: Option<Vec<Uuid>>,
    pub(super) since: Option<Uuid>,
    pub(super) until: Option<Uuid>,
    pub(super) fingerprint: Option<i64>,
    pub(super) error: Option<&'a str>,
    pub(super) path: Option<&'a [String]>,
    pub(super) value: Option<&'a str>,
}

/// A statement over the jobs `b` of a filter: what stands before the conditions and after them, and the
/// values from `$13` on; `$1` to `$12` are the filter's.
///
/// It must be planned for its values (`look::search`): a condition that is not asked for then falls away, and
/// what is left meets its index as if it had been written by hand. Users whose jobs have no other index
/// are taken one at a time (`u`): their newest are then a few steps into each one's index, and not a walk
/// through everybody's.
macro_rules! matching {
    ($query:ident!($($row:ty,)?) $before:literal, $after:literal, $values:expr $(, $more:expr)*) => {{
        let v = $values;
        sqlx::$query!(
            $($row,)?
            $before + r#"
                 where ($1::text is null or b.status = $1)
                   -- What waits is in one of three indexes and nowhere else.
                   and ($1::text is distinct from 'pending'
                        or (b.rank is not null or (b.rank is null and b.held is null) or b.held is not null))
                   and ($2::text is null or b.failure = $2)
                   and ($3::text is null or b.queue = $3)
                   and ($4::text is null or b.job_type = $4)
                   and ($5::uuid[] is null or b.user_id = u.id)
                   and ($6::uuid[] is null or b.user_id = any($6))
                   and ($7::uuid is null or b.id >= $7)
                   and ($8::uuid is null or b.id < $8)
                   and ($9::bigint is null or b.fingerprint = $9)
                   and ($10::text is null or strpos(lower(b.error_message), lower($10)) > 0)
                   and ($11::text[] is null or b.payload #>> $11 = $12)
            "# + $after,
            v.status,
            v.failure,
            v.queue,
            v.kind,
            v.each_user.as_deref(),
            v.any_user.as_deref(),
            v.since,
            v.until,
            v.fingerprint,
            v.error,
            v.path,
            v.value
            $(, $more)*
        )
    }};
}
pub(super) use matching;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_values_are_read_as_people_write_them() {
        assert_eq!("failed".parse(), Ok(Status::Failed));
        assert_eq!(
            "lost".parse::<Failure>().unwrap_err().to_string(),
            "use one of: exhausted, discarded, cancelled, quarantined"
        );
        let value: PayloadValue = "video.id=a=b".parse().unwrap();
        assert_eq!((value.path.join("/"), value.value.as_str()), ("video/id".to_owned(), "a=b"));
        for wrong in ["video", "=x", "a..b=x", ".a=x"] {
            assert!(wrong.parse::<PayloadValue>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_instant_bounds_the_ids_of_its_millisecond() {
        let instant = DateTime::from_timestamp_millis(1_764_111_222_333).unwrap();
        let at = |millis: i64| first_id(DateTime::from_timestamp_millis(millis).unwrap());
        let id = uuid::Builder::from_unix_timestamp_millis(1_764_111_222_333, &[0; 10]).into_uuid();
        assert!(first_id(instant) <= id && id < at(1_764_111_222_334) && at(1_764_111_222_332) < id);
        assert_eq!(at(-5), Uuid::nil());
    }

    #[test]
    fn a_search_without_an_index_needs_a_bound() {
        let error = Filter { error: Some("x".to_owned()), ..Filter::default() };
        assert!(matches!(error.check(), Err(QueueError::Unbounded)));
        let pending = Filter { status: Some(Status::Pending), ..error.clone() };
        assert!(matches!(pending.check(), Err(QueueError::Unbounded)));
        assert!(Filter { status: Some(Status::Failed), ..error.clone() }.check().is_ok());
        assert!(Filter { since: DateTime::from_timestamp_millis(0), ..error }.check().is_ok());
        let payload = Filter { payload: "a=b".parse().ok(), ..Filter::default() };
        assert!(matches!(payload.check(), Err(QueueError::Unbounded)));
    }
}

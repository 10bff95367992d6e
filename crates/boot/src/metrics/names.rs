//! Every metric of the house: its name, its kind, and one sentence on what it means.

/// How a metric counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the process ends.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations by size, in seconds.
    Histogram,
}

/// A metric's name and meaning.
#[derive(Clone, Copy, Debug)]
pub struct Name {
    /// As it stands in `/metrics`.
    pub name: &'static str,
    /// How it counts.
    pub kind: Kind,
    /// One sentence, which `/metrics` shows.
    pub says: &'static str,
}

macro_rules! names {
    ($($kind:ident $name:literal $says:literal;)*) => {
        /// Every metric that a process of the house may export.
        pub const NAMES: &[Name] = &[$(Name { name: $name, kind: Kind::$kind, says: $says }),*];
    };
}

names! {
    Counter "greenroom_http_requests_total" "Requests that the API has answered.";
    Histogram "greenroom_http_request_seconds" "Seconds from a request to its answer.";
    Counter "greenroom_auth_refused_total" "Service tokens that were refused.";

    Counter "greenroom_trace_spans_total" "Spans that were sent to the collector, or lost because it did not take them.";

    Counter "greenroom_jobs_enqueued_total" "Jobs that were enqueued and committed by this process; not those of plain SQL.";
    Counter "greenroom_jobs_finished_total" "Attempts that ended, by what became of the job.";
    Counter "greenroom_jobs_rescued_total" "Jobs whose worker died or lost its lease, put back by the sweeper.";
    Counter "greenroom_jobs_pruned_total" "Finished jobs that retention has deleted.";
    Counter "greenroom_breakers_opened_total" "Times a breaker was opened by a job of this process.";
    Counter "greenroom_schedule_misfires_total" "Times a tick came over a minute late.";
    Histogram "greenroom_job_duration_seconds" "Seconds that an attempt ran.";
    Histogram "greenroom_job_wait_seconds" "Seconds from the instant a job was to run until a worker took it.";
    Gauge "greenroom_leader" "1 where this process leads the role, 0 where it is a candidate.";
    Counter "greenroom_db_listener_reconnects_total" "Times the listening connection was lost and opened anew.";
    Gauge "greenroom_db_pool_connections" "Open connections to the database, busy or idle.";

    Gauge "greenroom_queue_jobs" "Jobs by state, counted up to 5000 a queue: 5001 means more than that.";
    Gauge "greenroom_queue_oldest_runnable_age_seconds" "Seconds that the oldest job has been waiting which could run if a worker were free.";
    Gauge "greenroom_workers" "Workers that serve the queue and have been seen lately.";
    Gauge "greenroom_worker_slots" "Slots of those workers, busy or idle.";
    Gauge "greenroom_breaker_open" "1 while the breaker is open or tried with one job, 0 while it is closed.";
    Gauge "greenroom_lanes_open" "Lanes whose breaker is open or tried with one job.";
    Gauge "greenroom_pool_units_granted" "Units of the pool's window that are held or spent.";
    Gauge "greenroom_pool_units_budget" "Units that the pool may spend in a window.";
    Gauge "greenroom_schedule_lag_seconds" "Seconds since a schedule's next tick was due; 0 while it lies ahead.";

    Counter "greenroom_platform_requests_total" "Requests to platforms, by what they answered.";
    Gauge "greenroom_connections" "Connected accounts by how they stand.";
    Gauge "greenroom_token_soonest_end_seconds" "Seconds until the first token ends that nobody has refreshed; below zero it has.";
    Gauge "greenroom_tokens_by_key" "Stored tokens by the key that opens them, as the last walk has found.";
    Counter "greenroom_token_refresh_total" "Access tokens that were asked for, by outcome.";
    Histogram "greenroom_token_refresh_seconds" "How long a token endpoint took to answer.";
    Counter "greenroom_token_lease_waits_total" "Looks at a refresh that another process had under way.";
    Counter "greenroom_token_race_recoveries_total" "Refreshes that another had overtaken, and whose tokens were used.";
    Counter "greenroom_token_reauth_required_total" "Connections that were marked for their owners to connect again.";
    Counter "greenroom_token_plaintext_reads_total" "Tokens that were found stored as plain text.";
    Counter "greenroom_tokens_undecryptable_total" "Tokens that no key in ENCRYPTION_KEY opened.";
    Counter "greenroom_mail_messages_total" "Messages by what became of them at a try.";
    Counter "greenroom_mail_events_total" "Events that providers told, by whether they are about a message of ours.";
    Counter "greenroom_mail_slowdowns_total" "Times a server asked for less mail.";
    Gauge "greenroom_mail_outbox" "Messages that are not settled, by state and class.";
    Gauge "greenroom_mail_oldest_due_seconds" "Seconds that the oldest message which waits to be sent is due.";
    Histogram "greenroom_campaigns_plan_seconds" "Seconds that a plan of all campaigns took.";
    Counter "greenroom_campaigns_trials_ended_total" "Trials that were over and ended.";

    Counter "greenroom_comments_read_total" "Comments that were read, by who read them.";
    Counter "greenroom_comments_ranked_total" "Comments that were ranked, read or not.";
    Counter "greenroom_comments_model_calls_total" "Calls of a language model that reads comments, by what came of them.";
    Gauge "greenroom_comments_connections_behind" "Connections with comments to read or rank, as the last look has found.";
    Counter "greenroom_credits_charged_micro_total" "Credits charged, in millionths.";
    Counter "greenroom_credits_cost_microdollars_total" "What work with an event cost us, in millionths of a dollar.";
    Counter "greenroom_credits_reservations_expired_total" "Reservations that their job never came back for.";
    Gauge "greenroom_credits_reservations_held" "Reservations that are not resolved yet.";
    Counter "greenroom_credits_resets_total" "Accounts whose period of credits began.";
    Gauge "greenroom_credits_reset_lag_seconds" "How long the account has waited that is due for its reset the longest.";
    Histogram "greenroom_credits_reset_seconds" "How long a reset of all due accounts took.";
    Gauge "greenroom_credits_discrepancies" "Rules that accounts break, as the last audit has found.";
    Counter "greenroom_credits_uncollected_micro_total" "Credits of finished work that could not be collected, in millionths.";
}

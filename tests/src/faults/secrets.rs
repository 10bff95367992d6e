//! Words that must stay where they were put: never in a log, and errors keep to themselves what they met.

use std::time::Duration;

use super::errand::Does;
use super::house::House;

#[tokio::test(flavor = "multi_thread")]
async fn payloads_reports_rows_and_addresses_stay_out_of_logs_and_errors() {
    let house = House::new().await;
    // Nobody asks for a password here, so any will do.
    let url = house.url.replacen("postgres@", "postgres:canary-password@", 1);
    assert!(url.contains("canary-password"));
    let said = house.errands(1, Does::Say("canary-report".to_owned())).await;
    let refused = house.errands(1, Does::BeRefused("canary-row".to_owned())).await;
    let payload = serde_json::json!({ "does": { "wait": "canary-payload" } });
    sqlx::query("insert into background_jobs (job_type, payload) values ('errand', $1)")
        .bind(payload)
        .execute(&house.pool)
        .await
        .unwrap();
    let mut process = house.worker().by(&url).slots(2).env("GREENROOM__LOG__FILTER", "trace").start();
    let failed = "count(*) >= 3 from greenroom.attempts where outcome = 'retried'";
    house.until("the others have failed, again and again", failed).await;
    house
        .until("one is done", &format!("status = 'completed' from background_jobs where id = '{}'", said[0]))
        .await;
    let errors =
        house.list("select error_message from background_jobs where error_message is not null").await;
    let attempts = house.list("select error from greenroom.attempts where error is not null").await;
    // It keeps what it was given to keep.
    let kept = format!("select result::text || checkpoint from background_jobs where id = '{}'", said[0]);
    assert!(house.list(&kept).await[0].contains("canary-report"));
    // And a server that is away is told of without its address.
    let gone = url.replacen("host=", "host=/nowhere", 1);
    let mut lost = house
        .worker()
        .by(&gone)
        .env("GREENROOM__LOG__FILTER", "trace")
        .env("GREENROOM__DATABASE__ACQUIRE_TIMEOUT_MS", "500")
        .start();
    while lost.has_ended().is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let logs = [process.log(), lost.log()];
    assert!(logs[0].contains("TRACE") && logs[0].contains(&refused[0].to_string()), "it tells nothing");
    for text in logs.iter().chain(&errors).chain(&attempts) {
        if let Some(line) = text.lines().find(|line| line.contains("canary")) {
            panic!("a secret got out: {line}");
        }
    }
}

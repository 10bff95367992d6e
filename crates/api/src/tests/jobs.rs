//! Looking at jobs, and taking a hand in them.

use serde_json::json;

use super::*;

#[tokio::test]
async fn a_tenant_lists_its_own_and_an_operator_everything() {
    let world = World::new().await;
    let ours = world.job_of(&world.ours).await;
    let theirs = world.job_of(&world.theirs).await;
    let house = world.job_of_the_house().await;
    let ids = async |query: &str, token: &str| {
        let answer = world.get(&format!("/v1/jobs{query}"), token).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let jobs = answer.body["jobs"].as_array().unwrap();
        jobs.iter().map(|job| serde_json::from_value(job["id"].clone()).unwrap()).collect::<Vec<JobId>>()
    };
    assert_eq!(ids("", &world.ours.token).await, [ours]);
    assert_eq!(ids("", &world.theirs.token).await, [theirs]);
    assert_eq!(ids("", &world.operator).await, [house, theirs, ours]);

    world.set(theirs, "failed").await;
    assert_eq!(ids("?status=failed", &world.operator).await, [theirs]);
    assert_eq!(ids("?status=failed", &world.ours.token).await, []);
    assert_eq!(ids("?queue=youtube&status=pending", &world.operator).await, [ours]);
    assert_eq!(ids("?failure=quarantined", &world.operator).await, []);
    assert_eq!(ids("?since=2026-01-01T00:00:00Z", &world.ours.token).await, [ours]);
    assert_eq!(ids("?until=2026-01-01T00:00:00Z", &world.operator).await, []);
    assert_eq!(ids("?kind=youtube.sync_channel", &world.operator).await, [theirs, ours]);
    let house_path = format!("/v1/jobs/{house}");
    assert_eq!(world.get(&house_path, &world.operator).await.status, 200);
    assert_eq!(world.get(&house_path, &world.ours.token).await.problem(), (404, "not_found"));
}

#[tokio::test]
async fn pages_meet_without_a_gap() {
    let world = World::new().await;
    let mut expected = Vec::new();
    for _ in 0..5 {
        let job = world.job_of(&world.ours).await;
        world.set(job, "completed").await;
        expected.insert(0, json!(job));
    }
    let (mut seen, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let answer = world.get(&format!("/v1/jobs{query}"), &world.ours.token).await;
        let jobs = answer.body["jobs"].as_array().unwrap();
        assert!(jobs.len() <= 2);
        seen.extend(jobs.iter().map(|job| job["id"].clone()));
        let Some(next) = answer.body["next"].as_str() else { break };
        query = format!("?limit=2&after={next}");
    }
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_waiting_job_is_cancelled_and_a_running_one_asked_to_end() {
    let world = World::new().await;
    let waiting = world.job_of(&world.ours).await;
    let answer = world.post(&format!("/v1/jobs/{waiting}/cancel"), &world.ours.token).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!((&answer.body["status"], &answer.body["failure"]), (&json!("failed"), &json!("cancelled")));

    let running = world.job_of(&world.ours).await;
    world.set(running, "running").await;
    let answer = world.post(&format!("/v1/jobs/{running}/cancel"), &world.ours.token).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.header("location"), format!("/v1/jobs/{running}"));
    assert_eq!((&answer.body["status"], &answer.body["cancel_requested"]), (&json!("running"), &json!(true)));

    let answer = world.post(&format!("/v1/jobs/{waiting}/cancel"), &world.ours.token).await;
    assert_eq!(
        answer.body,
        json!({
            "type": "urn:greenroom:problem:wrong_state",
            "title": "Not in the job's state",
            "status": 409,
            "detail": format!("job {waiting} is failed: only a job that waits or runs can be cancelled"),
            "code": "wrong_state",
            "job_status": "failed",
        })
    );
}

#[tokio::test]
async fn a_failed_job_is_retried_unless_its_work_is_open() {
    let world = World::new().await;
    let job = world.job_of(&world.ours).await;
    let retry = format!("/v1/jobs/{job}/retry");
    world.set(job, "running").await;
    assert_eq!(world.post(&retry, &world.ours.token).await.problem(), (409, "wrong_state"));

    world.set(job, "failed").await;
    let answer = world.post(&retry, &world.ours.token).await;
    assert_eq!((answer.status, &answer.body["status"]), (202, &json!("pending")), "{answer:?}");
    assert_eq!(answer.header("location"), format!("/v1/jobs/{job}"));

    world.set(job, "failed").await;
    let holder = world.job_of(&world.ours).await;
    let answer = world.post(&retry, &world.ours.token).await;
    assert_eq!(answer.problem(), (409, "key_held"));
    assert_eq!(answer.body["holder"], json!(holder));
    assert!(answer.body["detail"].as_str().unwrap().ends_with("wait for it or cancel it"), "{answer:?}");
}

#[tokio::test]
async fn the_house_s_own_jobs_are_the_operators_business() {
    let world = World::new().await;
    let job = world.job_of_the_house().await;
    let reader = token(world.pool(), None, &SCOPES).await;
    for action in ["cancel", "retry"] {
        let path = format!("/v1/jobs/{job}/{action}");
        assert_eq!(world.post(&path, &world.ours.token).await.problem(), (404, "not_found"));
        let answer = world.post(&path, &reader).await;
        assert_eq!((answer.problem(), &answer.body["action"]), ((403, "forbidden"), &json!("job.operate")));
        assert!(world.post(&path, &world.operator).await.status < 300);
    }
}

//! The inbox over HTTP.

use serde_json::json;

use super::*;

impl World {
    async fn send(&self, method: Method, path: &str, token: &str, body: Value) -> Answer {
        Answer::read(self.request(method, path).bearer_auth(token).json(&body).send().await.unwrap()).await
    }

    /// Five comments under a tenant's video, ranked; returns their ids, the most pressing first.
    async fn comments_of(&self, tenant: &Tenant) -> Vec<String> {
        let sql = "with v as (insert into youtube_videos (channel_id, video_id) values ($1, $1::text) returning id)
                   insert into youtube_comments (connection_id, video_id, comment_id, content, published_at, priority_score,
                                                 priority_breakdown, sentiment, categories, enrich_provider, enrich_version)
                   select $1, v.id, $1::text || n, 'Comment ' || n, greenroom.now() - interval '30 days', 90 - n, '{}',
                          'neutral', array['question'], 'local', 1
                     from v, generate_series(1, 5) n returning id::text";
        sqlx::query_scalar(sql).bind(tenant.connection.0).fetch_all(self.pool()).await.unwrap()
    }
}

fn scopes() -> Vec<&'static str> {
    vec!["interaction.read", "interaction.write", "consent.write"]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_lists_changes_and_corrects_its_own() {
    let world = World::new().await;
    let token = token(world.pool(), Some(world.ours.organization), &scopes()).await;
    let (ours, theirs) = (world.comments_of(&world.ours).await, world.comments_of(&world.theirs).await);

    let first = world.get("/v1/interactions?limit=3", &token).await;
    let listed = |answer: &Answer| -> Vec<String> {
        let rows = answer.body["interactions"].as_array().unwrap();
        rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(listed(&first), ours[..3]);
    let next = first.body["next"].as_str().unwrap();
    let rest = world.get(&format!("/v1/interactions?limit=3&after={next}"), &token).await;
    assert_eq!((listed(&rest), rest.body.get("next")), (ours[3..].to_vec(), None));
    let few =
        world.get("/v1/interactions?category=question,collab&priority_max=87&sort=oldest", &token).await;
    assert_eq!(listed(&few).len(), 3);
    for wrong in
        ["colour=red", "priority_max=x", "text=a", "after=x", "limit=500", "assigned_to=me", "user_id=1"]
    {
        let answer = world.get(&format!("/v1/interactions?{wrong}"), &token).await;
        assert_eq!(answer.problem(), (400, "bad_query"), "{wrong}");
    }

    let path = format!("/v1/interactions/{}", ours[0]);
    let shown = world.get(&path, &token).await;
    assert_eq!((shown.status, shown.body["thread"].as_array().unwrap().len()), (200, 1));
    let etag = shown.header("etag").to_owned();
    let changed = world.send(Method::PATCH, &path, &token, json!({"status": "read", "tags": ["vip"]})).await;
    assert_eq!(
        (changed.status, &changed.body["status"], &changed.body["tags"]),
        (200, &json!("read"), &json!(["vip"]))
    );
    let stale = world.request(Method::PATCH, &path).bearer_auth(&token).header("If-Match", etag);
    let stale = Answer::read(stale.json(&json!({"status": "ignored"})).send().await.unwrap()).await;
    assert_eq!(stale.problem(), (412, "changed"));
    for wrong in [
        json!({"status": "done"}),
        json!({"color": 1}),
        json!({"assigned_to_user_id": world.theirs.user}),
        json!({"by_user_id": world.theirs.user, "sentiment": "negative"}),
    ] {
        let answer = world.send(Method::PATCH, &path, &token, wrong.clone()).await;
        assert_eq!(answer.problem(), (400, "bad_body"), "{wrong}");
    }

    // A correction, which is kept once its author has consented.
    let consent = format!("/v1/users/{}/consents/training", world.ours.user);
    assert_eq!(world.get(&consent, &token).await.body["given"], false);
    assert_eq!(world.send(Method::PUT, &consent, &token, json!({})).await.status, 200);
    let body = json!({"categories": ["collab"], "by_user_id": world.ours.user});
    let corrected = world.send(Method::PATCH, &path, &token, body).await;
    assert_eq!(
        (&corrected.body["read_by"], &corrected.body["categories"]),
        (&json!("person"), &json!(["collab"]))
    );
    let kept = "select count(*) from ai_training_data where data_type = 'comment_label_correction'";
    assert_eq!(sqlx::query_scalar::<_, i64>(kept).fetch_one(world.pool()).await.unwrap(), 1);
    assert_eq!(world.send(Method::DELETE, &consent, &token, json!({})).await.status, 204);
    assert_eq!(sqlx::query_scalar::<_, i64>(kept).fetch_one(world.pool()).await.unwrap(), 0);

    let ids = [&ours[1], &theirs[0], &ours[2]];
    let body = json!({"ids": ids, "change": {"status": "ignored"}});
    let bulk = world.send(Method::POST, "/v1/interactions/bulk", &token, body).await;
    assert_eq!((&bulk.body["changed"], &bulk.body["missing"]), (&json!(2), &json!([theirs[0]])));
    let ignored = world.get("/v1/interactions?status=ignored", &token).await;
    assert_eq!(listed(&ignored), ours[1..3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn anothers_comments_and_views_are_not_there() {
    let world = World::new().await;
    let token_of = async |tenant: &Tenant| token(world.pool(), Some(tenant.organization), &scopes()).await;
    let (ours, theirs) = (token_of(&world.ours).await, token_of(&world.theirs).await);
    let operator = token(world.pool(), None, &scopes()).await;
    let id = world.comments_of(&world.ours).await.remove(0);
    let path = format!("/v1/interactions/{id}");
    assert_eq!(world.get(&path, &theirs).await.problem(), (404, "not_found"));
    let change = world.send(Method::PATCH, &path, &theirs, json!({"status": "read"})).await;
    assert_eq!(change.problem(), (404, "not_found"));
    assert_eq!(world.get("/v1/interactions", &theirs).await.body["interactions"], json!([]));
    let named = format!("/v1/interactions?connection_id={}", world.ours.connection);
    assert_eq!(world.get(&named, &theirs).await.body["interactions"], json!([]));
    assert_eq!(
        world.get(&format!("/v1/interactions?user_id={}", world.ours.user), &theirs).await.status,
        404
    );
    assert_eq!(world.get("/v1/interactions", &operator).await.problem(), (400, "bad_query"));
    assert_eq!(world.get(&named, &operator).await.body["interactions"].as_array().unwrap().len(), 5);
    assert_eq!(world.get("/v1/interactions", &world.ours.token).await.problem(), (403, "forbidden"));

    let views = format!("/v1/interactions/views?user_id={}", world.ours.user);
    let new = json!({"user_id": world.ours.user, "name": "Mine", "filters": {"assigned_to": "me", "sort": "newest"}});
    let view = world.send(Method::POST, "/v1/interactions/views", &ours, new.clone()).await;
    assert_eq!(view.status, 201, "{view:?}");
    assert_eq!(
        world.send(Method::POST, "/v1/interactions/views", &ours, new.clone()).await.problem(),
        (409, "name_taken")
    );
    assert_eq!(world.send(Method::POST, "/v1/interactions/views", &theirs, new).await.status, 404);
    let unknown = json!({"user_id": world.ours.user, "name": "x", "filters": {"colour": "red"}});
    assert_eq!(
        world.send(Method::POST, "/v1/interactions/views", &ours, unknown).await.problem(),
        (400, "bad_body")
    );
    let mine = format!("/v1/interactions?view_id={}", view.body["id"].as_str().unwrap());
    assert_eq!(world.get(&mine, &ours).await.body["interactions"], json!([]));
    let assign = json!({"assigned_to_user_id": world.ours.user});
    assert_eq!(world.send(Method::PATCH, &path, &ours, assign).await.status, 200);
    assert_eq!(world.get(&mine, &ours).await.body["interactions"][0]["id"], json!(id));
    let over = world.get(&format!("{mine}&status=ignored"), &ours).await;
    assert_eq!(over.body["interactions"], json!([]), "the query stands over the view");
    assert_eq!(world.get(&mine, &theirs).await.status, 404);

    let one = format!("/v1/interactions/views/{}", view.body["id"].as_str().unwrap());
    let renamed = json!({"name": "Ours", "filters": {}});
    assert_eq!(world.send(Method::PUT, &one, &theirs, renamed.clone()).await.status, 404);
    assert_eq!(world.send(Method::PUT, &one, &ours, renamed).await.body["name"], "Ours");
    assert_eq!(world.get(&views, &ours).await.body["views"].as_array().unwrap().len(), 1);
    assert_eq!(world.send(Method::DELETE, &one, &theirs, json!({})).await.status, 404);
    assert_eq!(world.send(Method::DELETE, &one, &ours, json!({})).await.status, 204);
    assert_eq!(world.get(&views, &ours).await.body["views"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_has_the_built_in_views() {
    let world = World::new().await;
    let ours = token(world.pool(), Some(world.ours.organization), &scopes()).await;
    let comments = world.comments_of(&world.ours).await;
    let of = async |query: String| {
        let page = world.get(&format!("/v1/interactions?{query}"), &ours).await;
        page.body["interactions"].as_array().map(Vec::len)
    };
    assert_eq!(of("view=all".to_owned()).await, Some(5));
    let path = format!("/v1/interactions/{}", comments[0]);
    let change = json!({"categories": ["complaint"], "assigned_to_user_id": world.ours.user});
    assert_eq!(world.send(Method::PATCH, &path, &ours, change).await.status, 200);
    let me = format!("user_id={}", world.ours.user);
    assert_eq!(of(format!("view=mine&{me}&sort=newest")).await, Some(1));
    assert_eq!(of("view=complaints&sort=newest".to_owned()).await, Some(1));
    assert_eq!(of("view=complaints&status=ignored&sort=newest".to_owned()).await, Some(0));
    for wrong in ["view=mine", "view=nothing", "view=all&view_id=01a21bbe-e390-7410-9842-1ca5dfc44b61"] {
        let refused = world.get(&format!("/v1/interactions?{wrong}"), &ours).await;
        assert_eq!(refused.problem(), (400, "bad_query"), "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn authors_come_first_to_a_person_of_the_callers_organisation() {
    let world = World::new().await;
    let ours = token(world.pool(), Some(world.ours.organization), &scopes()).await;
    let theirs = token(world.pool(), Some(world.theirs.organization), &scopes()).await;
    let list = format!("/v1/interactions/vips?user_id={}", world.ours.user);
    let one = format!("/v1/interactions/vips/youtube/UCsomebody?user_id={}", world.ours.user);
    assert_eq!(world.send(Method::PUT, &one, &theirs, json!({})).await.status, 404);
    assert_eq!(world.send(Method::PUT, &one, &ours, json!({})).await.status, 201);
    assert_eq!(world.send(Method::PUT, &one, &ours, json!({})).await.status, 204);
    let vips = world.get(&list, &ours).await.body["vips"].clone();
    assert_eq!((&vips[0]["author_id"], &vips[0]["platform"]), (&json!("UCsomebody"), &json!("youtube")));
    assert_eq!(world.get(&list, &theirs).await.status, 404);
    for wrong in ["twitter/x", "nowhere/x"] {
        let path = format!("/v1/interactions/vips/{wrong}?user_id={}", world.ours.user);
        assert_eq!(world.send(Method::PUT, &path, &ours, json!({})).await.problem(), (400, "bad_query"));
    }
    assert_eq!(world.send(Method::DELETE, &one, &theirs, json!({})).await.status, 404);
    assert_eq!(world.send(Method::DELETE, &one, &ours, json!({})).await.status, 204);
    assert_eq!(world.get(&list, &ours).await.body["vips"], json!([]));
}

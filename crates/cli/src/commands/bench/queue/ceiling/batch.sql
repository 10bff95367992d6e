\set token random(1, 9000000000000000000)
with pick as (
    select id from bare where status = 'pending' order by rank limit 1000 for update skip locked
), taken as (
    update bare b
       set status = 'running', lease_token = :token, leased_until = now() + interval '60 s', started_at = now()
      from pick p
     where b.id = p.id
    returning b.id, b.payload
)
select array_agg(id order by id) as ids from taken \gset
update bare
   set status = 'completed', completed_at = now(), lease_token = null, leased_until = null
 where id = any (:ids::uuid[]) and lease_token = :token;

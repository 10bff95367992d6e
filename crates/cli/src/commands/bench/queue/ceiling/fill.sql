insert into bare (id, payload, rank)
select lpad(to_hex(n), 32, '0')::uuid, jsonb_build_object('seq', n), n from generate_series(1, $1) n

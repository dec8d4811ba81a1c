-- What holds rows of its own: tables, leaves of partitioned ones, materialized views, large objects. A key is one whose order
-- does not depend on a collation's version, without nulls, ascending, so that an index answers a comparison of rows.
select n.nspname, c.relname, greatest(c.reltuples::bigint, 0), coalesce(pg_table_size(c.oid), 0),
       case when k.safe then to_json(k.columns) else '[]' end,
       (select coalesce(json_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod) order by a.attnum), '[]')
        from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated <> 'v'),
       case when c.relkind = 'f' then 'is a foreign table: its rows are elsewhere'
            when c.relpersistence = 'u' then 'is unlogged: a physical copy does not hold its rows'
            when not c.relispopulated then 'is not populated: there is nothing to read' end
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
left join lateral (
  select s.columns, s.safe
  from pg_index i
  join pg_class ic on ic.oid = i.indexrelid
  join pg_am am on am.oid = ic.relam and am.amname = 'btree'
  cross join lateral (
    select array_agg(a.attname order by x.ord) as columns, bool_and(a.attnotnull) as not_null,
           -- int8 int2 int4 oid uuid bytea date timestamp timestamptz time numeric bool; text varchar bpchar name in byte order
           bool_and((ty.base in (20, 21, 23, 26, 2950, 17, 1082, 1114, 1184, 1083, 1700, 16)
                     or ty.base in (25, 1043, 1042, 19) and (
                          i.indcollation[x.ord - 1] in (select oid from pg_collation
                                                        where collname in ('C', 'POSIX', 'ucs_basic') and collnamespace = 11)
                          or i.indcollation[x.ord - 1] = 100 and (
                               select datcollate in ('C', 'POSIX') and coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') = 'c'
                               from pg_database d where datname = current_database())))
                    and i.indoption[x.ord - 1] = 0 and oc.opcdefault) as safe,
           sum(case when ty.typlen > 0 then ty.typlen else 32 end) as width
    from generate_series(1, i.indnkeyatts) x(ord)
    join pg_attribute a on a.attrelid = c.oid and a.attnum = i.indkey[x.ord - 1]
    join (select oid, typlen, coalesce(nullif(typbasetype, 0), oid) as base from pg_type) ty on ty.oid = a.atttypid
    join pg_opclass oc on oc.oid = i.indclass[x.ord - 1]
  ) s
  where i.indrelid = c.oid and i.indisunique and i.indisvalid and i.indisready and i.indimmediate
    and i.indpred is null and i.indexprs is null and s.not_null
  order by s.safe desc, i.indisprimary desc, s.width, i.indexrelid
  limit 1) k on true
where c.relkind in ('r', 'm', 'f') and c.relpersistence <> 't'
  and (n.nspname <> 'information_schema' and n.nspname !~ '^pg_' or c.oid = 'pg_largeobject'::regclass)
order by 1, 2

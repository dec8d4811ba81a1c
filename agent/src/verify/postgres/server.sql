-- The same of what belongs to the whole server. Of settings, those by which a query's answer, its durability or who gets in may
-- differ, as the server's files or its build have them: a session's own are ours.
select 'role' kind, r.rolname::text as name, concat_ws(' | ', 'super '||r.rolsuper, 'inherit '||r.rolinherit,
    'createrole '||r.rolcreaterole, 'createdb '||r.rolcreatedb, 'login '||r.rolcanlogin, 'repl '||r.rolreplication,
    'bypassrls '||r.rolbypassrls, 'limit '||r.rolconnlimit, 'until '||r.rolvaliduntil,
    'password '||encode(sha256(convert_to('%SALT%'||r.rolpassword, 'UTF8')), 'hex')) as def
from pg_authid r where r.rolname !~ '^pg_'
union all
select 'membership', m.roleid::regrole||' <- '||m.member::regrole||' by '||coalesce(pg_get_userbyid(m.grantor), '?'),
    concat_ws(' | ', 'admin '||m.admin_option, 'inherit '||(to_jsonb(m)->>'inherit_option'), 'set '||(to_jsonb(m)->>'set_option'))
from pg_auth_members m
union all
select 'role setting',
    concat_ws(' @ ', coalesce(nullif(s.setrole, 0)::regrole::text, 'all'), (select datname from pg_database d where d.oid = s.setdatabase)),
    (select string_agg(x, ',' order by x collate "C") from unnest(s.setconfig) x)
from pg_db_role_setting s
union all
select 'database', d.datname::text, concat_ws(' | ', pg_get_userbyid(d.datdba), pg_encoding_to_char(d.encoding), d.datcollate, d.datctype,
    to_jsonb(d)->>'datlocprovider', coalesce(to_jsonb(d)->>'daticulocale', to_jsonb(d)->>'datlocale'),
    'recorded '||(to_jsonb(d)->>'datcollversion'), d.datistemplate, d.datallowconn, d.datconnlimit,
    'acl '||(select string_agg(x::text, ',' order by x::text collate "C") from unnest(d.datacl) x), 'ts '||t.spcname)
from pg_database d join pg_tablespace t on t.oid = d.dattablespace
union all
select 'tablespace', spcname::text, concat_ws(' | ', pg_get_userbyid(spcowner), spcacl::text, spcoptions::text) from pg_tablespace
union all
select 'shared comment', d.classoid::regclass||' '||(pg_identify_object(d.classoid, d.objoid, 0)).identity, d.description
from pg_shdescription d where d.objoid >= 16384
union all
select 'server setting', s.name,
    case when s.context = 'internal' then s.setting
         else coalesce((select f.setting from pg_file_settings f where f.name = s.name and f.error is null order by f.seqno desc limit 1),
                       s.boot_val) end
from pg_settings s
where s.name in ('server_encoding', 'block_size', 'wal_block_size', 'segment_size', 'integer_datetimes', 'data_checksums',
    'max_identifier_length', 'datestyle', 'intervalstyle', 'timezone', 'lc_messages', 'lc_monetary', 'lc_numeric', 'lc_time',
    'default_text_search_config', 'search_path', 'default_transaction_isolation', 'default_transaction_read_only',
    'standard_conforming_strings', 'bytea_output', 'extra_float_digits', 'xmlbinary', 'xmloption', 'array_nulls', 'row_security',
    'synchronous_commit', 'fsync', 'full_page_writes', 'wal_level', 'max_connections', 'max_prepared_transactions',
    'shared_preload_libraries', 'session_preload_libraries', 'local_preload_libraries', 'password_encryption', 'statement_timeout',
    'lock_timeout', 'idle_in_transaction_session_timeout', 'default_tablespace', 'temp_tablespaces', 'default_toast_compression',
    'transform_null_equals', 'backslash_quote', 'ssl', 'krb_caseins_users', 'autovacuum', 'max_locks_per_transaction',
    'DateStyle', 'IntervalStyle', 'TimeZone')
order by 1, 2, 3

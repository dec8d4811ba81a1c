-- Whatever decides how a value is written, and what may end, hide or slow a read. Unlike versions have unlike time limits.
set search_path = pg_catalog; set client_encoding = 'UTF8'; set standard_conforming_strings = on; set quote_all_identifiers = off;
set datestyle = 'ISO, YMD'; set intervalstyle = 'postgres'; set timezone = 'UTC';
set extra_float_digits = 1; set lc_monetary = 'C';
set bytea_output = 'hex'; set xmloption = 'content'; set xmlbinary = 'base64'; set array_nulls = on;
set default_transaction_read_only = on; set row_security = off; set lock_timeout = '2s';
set max_parallel_workers_per_gather = 0; set jit = off; set synchronize_seqscans = off;
set work_mem = '16MB'; set enable_seqscan = on;
select set_config(name, '0', false) from pg_settings
where name in ('statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout')

-- Kind, name and definition of everything in a database that is not rows, by names that every server gives it. No OID stands in
-- a definition; what only newer versions have is read by way of to_jsonb(); options that are secrets are digests with the salt.
with ns as (select oid, nspname from pg_namespace where nspname <> 'information_schema' and nspname !~ '^pg_'),
-- objects owned by an extension are covered by the extension's version
ext as (select classid, objid from pg_depend where deptype = 'e' and refclassid = 'pg_extension'::regclass)
select 'table' kind, c.oid::regclass::text as name,
  concat_ws(' | ', c.relkind, c.relpersistence, 'owner '||pg_get_userbyid(c.relowner), am.amname, c.reloptions::text,
      'rls '||c.relrowsecurity||c.relforcerowsecurity, 'ri '||c.relreplident::text,
   coalesce(pg_get_partkeydef(c.oid),''), pg_get_expr(c.relpartbound, c.oid),
       (select 'inherits '||string_agg(inhparent::regclass::text, ',' order by inhseqno) from pg_inherits
       where inhrelid = c.oid),
   'acl '||(select string_agg(x::text, ',' order by x::text collate "C") from unnest(c.relacl) x), case when c.reloftype<>0
       then 'of '||c.reloftype::regtype end, case when c.relkind='m' then 'populated '||c.relispopulated end,
       'ts '||ts.spcname) as def
from pg_class c join ns on ns.oid = c.relnamespace left join pg_am am on am.oid = c.relam left
    join pg_tablespace ts on ts.oid = c.reltablespace
where c.relkind in ('r','p','v','m','f','S','c') and c.relpersistence <> 't' and (1259::regclass::oid,
    c.oid) not in (select classid, objid from ext)
union all
select 'column', format('%s.%I', c.oid::regclass, a.attname),
  concat_ws(' | ', (select count(*) from pg_attribute b where b.attrelid = a.attrelid and b.attnum between 1 and a.attnum
      and not b.attisdropped), format_type(a.atttypid, a.atttypmod), 'coll '||a.attcollation::regcollation::text,
      'nn '||a.attnotnull, 'id '||a.attidentity::text, 'gen '||a.attgenerated::text, 'def '||pg_get_expr(d.adbin, d.adrelid),
      'st '||a.attstorage::text, 'stat '||nullif(coalesce(a.attstattarget,-1),-1),
      'compr '||nullif(to_jsonb(a)->>'attcompression',''), (select string_agg(o, ',' order by o) from unnest(a.attoptions) o
      where o !~ '^pg_attver='), a.attfdwoptions::text, 'islocal '||a.attislocal, 'acl '||(select string_agg(x::text, ','
      order by x::text collate "C") from unnest(a.attacl) x),
   'missing '||case when a.atthasmissing then a.attmissingval::text end)
from pg_attribute a join pg_class c on c.oid = a.attrelid join ns on ns.oid = c.relnamespace left
    join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where a.attnum > 0 and not a.attisdropped and c.relkind in ('r','p','v','m','f','c') and c.relpersistence <> 't'
    and (1259::regclass::oid, c.oid) not in (select classid, objid from ext)
union all
select 'index', i.indexrelid::regclass::text, concat_ws(' | ', pg_get_indexdef(i.indexrelid), 'valid '||i.indisvalid,
    'ready '||i.indisready, 'live '||i.indislive, 'pk '||i.indisprimary, 'clustered '||i.indisclustered,
    'ri '||i.indisreplident, c.reloptions::text, 'ts '||ts.spcname)
from pg_index i join pg_class c on c.oid = i.indexrelid join ns on ns.oid = c.relnamespace left
    join pg_tablespace ts on ts.oid = c.reltablespace where c.relpersistence <> 't'
union all
select 'constraint', format('%s %I', coalesce(nullif(c.conrelid,0)::regclass::text, nullif(c.contypid,0)::regtype::text),
    c.conname), concat_ws(' | ', c.contype, pg_get_constraintdef(c.oid), 'validated '||c.convalidated,
    'enforced '||coalesce(to_jsonb(c)->>'conenforced','true'), 'local '||c.conislocal)
from pg_constraint c join ns on ns.oid = c.connamespace where c.contype <> 'n' and (c.conrelid = 0 or exists (select
    from pg_class k where k.oid = c.conrelid and k.relpersistence <> 't'))
union all
select 'trigger', format('%s %I', t.tgrelid::regclass, t.tgname), pg_get_triggerdef(t.oid)||' | enabled '||t.tgenabled::text
    from pg_trigger t where not t.tgisinternal
union all -- those of foreign keys may be switched off, too (ALTER TABLE ... DISABLE TRIGGER ALL)
select 'fk-triggers', t.tgrelid::regclass::text, string_agg(t.tgenabled::text||'x'||k, ',' order by t.tgenabled)
    from (select tgrelid, tgenabled, count(*) k from pg_trigger where tgisinternal group by 1,2) t
    join pg_class c on c.oid=t.tgrelid where c.relpersistence <> 't' group by t.tgrelid
union all
select 'rule', format('%s %I', r.ev_class::regclass, r.rulename), pg_get_ruledef(r.oid)||' | enabled '||r.ev_enabled::text
    from pg_rewrite r join pg_class c on c.oid=r.ev_class join ns on ns.oid=c.relnamespace where r.rulename <> '_RETURN' and (1259::regclass::oid, c.oid) not in (select classid, objid from ext)
union all
select 'function', p.oid::regprocedure::text, concat_ws(' | ', p.prokind, 'owner '||pg_get_userbyid(p.proowner), case
    when p.prokind <> 'a' then pg_get_functiondef(p.oid) else pg_get_function_result(p.oid)||' '||(select concat_ws(',',
    a.aggkind, a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn,
    a.aggmfinalfn, a.aggfinalmodify, nullif(a.aggsortop,0)::regoperator, a.aggtranstype::regtype, a.aggtransspace, a.agginitval,
    a.aggminitval) from pg_aggregate a where a.aggfnoid = p.oid) end, 'acl '||(select string_agg(x::text, ','
    order by x::text collate "C") from unnest(p.proacl) x))
from pg_proc p join ns on ns.oid = p.pronamespace where ('pg_proc'::regclass::oid, p.oid) not in (select classid, objid
    from ext)
union all
select 'type', t.oid::regtype::text, concat_ws(' | ', t.typtype, 'owner '||pg_get_userbyid(t.typowner),
    (select string_agg(quote_literal(enumlabel), ',' order by enumsortorder) from pg_enum where enumtypid = t.oid), case
    when t.typtype='d' then format_type(t.typbasetype, t.typtypmod)||' nn '||t.typnotnull||' '||coalesce(t.typdefault,'') end,
    (select rngsubtype::regtype||' '||rngcollation::regcollation||' '||rngsubdiff from pg_range where rngtypid = t.oid), case
    when t.typtype='b' then concat_ws(',', t.typinput, t.typoutput, t.typreceive, t.typsend, t.typlen, t.typalign,
    t.typstorage) end, 'acl '||(select string_agg(x::text, ',' order by x::text collate "C") from unnest(t.typacl) x))
from pg_type t join ns on ns.oid = t.typnamespace where t.typtype in ('e','d','r','b','p') and t.typelem = 0
    and ('pg_type'::regclass::oid, t.oid) not in (select classid, objid from ext)
union all
select 'sequence', s.seqrelid::regclass::text, concat_ws(' | ', s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmin,
    s.seqmax, s.seqcache, s.seqcycle, 'owned by '||(select d.refobjid::regclass||'.'||a.attname||' '||d.deptype::text
    from pg_depend d join pg_attribute a on a.attrelid=d.refobjid and a.attnum=d.refobjsubid where d.classid = 1259
    and d.objid = s.seqrelid and d.refclassid = 1259 and d.deptype in ('a','i') limit 1))
from pg_sequence s join pg_class c on c.oid = s.seqrelid join ns on ns.oid = c.relnamespace where c.relpersistence <> 't'
union all
select 'extension', extname, concat_ws(' | ', extversion, 'schema '||extnamespace::regnamespace,
    'owner '||pg_get_userbyid(extowner)) from pg_extension
union all
select 'schema', n.nspname, concat_ws(' | ', 'owner '||pg_get_userbyid(n.nspowner), 'acl '||(select string_agg(x::text, ','
    order by x::text collate "C") from unnest(n.nspacl) x)) from pg_namespace n where n.nspname !~ '^pg_(toast|temp)'
union all
select 'default-acl', concat_ws(' ', pg_get_userbyid(d.defaclrole), nullif(d.defaclnamespace,0)::regnamespace, d.defaclobjtype),
    (select string_agg(x::text, ',' order by x::text collate "C") from unnest(d.defaclacl) x) from pg_default_acl d
union all
select 'comment', i.type||' '||coalesce(i.identity,''), coalesce('col '||(select attname from pg_attribute a
    where a.attrelid=d.objoid and a.attnum=d.objsubid and d.objsubid>0)||': ','')||d.description from pg_description d,
    lateral pg_identify_object(d.classoid, d.objoid, d.objsubid) i where d.objoid >= 16384 and (d.classoid,
    d.objoid) not in (select classid, objid from ext)
union all
select 'seclabel', i.type||' '||i.identity, l.provider||' '||l.label from pg_seclabel l, lateral pg_identify_object(l.classoid,
    l.objoid, l.objsubid) i
union all
select 'policy', format('%s %I', p.polrelid::regclass, p.polname), concat_ws(' | ', p.polcmd, p.polpermissive,
    (select string_agg(coalesce(pg_get_userbyid(nullif(r,0)),'public'), ',' order by 1) from unnest(p.polroles) r),
    pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)) from pg_policy p
union all
select 'publication', p.pubname, concat_ws(' | ', 'owner '||pg_get_userbyid(p.pubowner),
    (to_jsonb(p) - 'oid' - 'pubowner' - 'pubname')::text,
    (select string_agg(r.prrelid::regclass||coalesce(' where '||pg_get_expr((to_jsonb(r)->>'prqual')::pg_node_tree,
    r.prrelid),'')||coalesce(' cols '||(to_jsonb(r)->>'prattrs'),''), ',' order by r.prrelid::regclass::text)
    from pg_publication_rel r where r.prpubid = p.oid)) from pg_publication p
union all
select 'subscription', s.subname, concat_ws(' | ', 'owner '||pg_get_userbyid(s.subowner), 'enabled '||s.subenabled,
    s.subslotname, s.subsynccommit, s.subpublications::text) from pg_subscription s join pg_database d on d.oid = s.subdbid
    where d.datname = current_database() -- subconninfo is a secret
union all
select 'event trigger', evtname, concat_ws(' | ', evtevent, evtfoid::regprocedure, 'enabled '||evtenabled::text, evttags::text,
    pg_get_userbyid(evtowner)) from pg_event_trigger
union all
select 'statistics', stxnamespace::regnamespace||'.'||quote_ident(stxname),
    pg_get_statisticsobjdef(oid)||' | owner '||pg_get_userbyid(stxowner)||coalesce(' | '||nullif(coalesce(to_jsonb(e)->>'stxstattarget','-1'),'-1'),'') from pg_statistic_ext e
union all
select 'fdw', f.fdwname, concat_ws(' | ', nullif(f.fdwhandler,0)::regprocedure, nullif(f.fdwvalidator,0)::regprocedure,
    pg_get_userbyid(f.fdwowner), f.fdwacl::text,
    'options sha '||encode(sha256(convert_to('%SALT%'||f.fdwoptions::text,'UTF8')),'hex')) from pg_foreign_data_wrapper f
union all
select 'server', s.srvname, concat_ws(' | ', w.fdwname, s.srvtype, s.srvversion, pg_get_userbyid(s.srvowner), s.srvacl::text,
    (select string_agg(case when split_part(o,'=',1) ~* 'pass|secret|key|token'
    then split_part(o,'=',1)||'=#'||encode(sha256(convert_to('%SALT%'||o,'UTF8')),'hex') else o end, ',' order by o)
    from unnest(s.srvoptions) o)) from pg_foreign_server s join pg_foreign_data_wrapper w on w.oid = s.srvfdw
union all
select 'user mapping', coalesce(nullif(u.usename,''),'public')||' @ '||u.srvname,
    (select string_agg(split_part(o,'=',1)||'=#'||left(encode(sha256(convert_to('%SALT%'||o,'UTF8')),'hex'),16), ','
    order by o) from unnest(u.umoptions) o) from pg_user_mappings u
union all
select 'foreign table', f.ftrelid::regclass::text, s.srvname||' '||coalesce(f.ftoptions::text,'') from pg_foreign_table f
    join pg_foreign_server s on s.oid = f.ftserver
union all
select 'cast', c.castsource::regtype||' as '||c.casttarget::regtype, concat_ws(' | ', nullif(c.castfunc,0)::regprocedure,
    c.castcontext, c.castmethod) from pg_cast c where c.oid >= 16384 and ('pg_cast'::regclass::oid,
    c.oid) not in (select classid, objid from ext)
union all
select 'operator', o.oid::regoperator::text, concat_ws(' | ', o.oprcode, o.oprresult::regtype, nullif(o.oprcom,0)::regoperator,
    nullif(o.oprnegate,0)::regoperator, o.oprrest, o.oprjoin, o.oprcanhash, o.oprcanmerge, pg_get_userbyid(o.oprowner))
    from pg_operator o where o.oid >= 16384 and ('pg_operator'::regclass::oid, o.oid) not in (select classid, objid from ext)
union all
select 'opclass', format('%I.%I using %s', n.nspname, o.opcname, a.amname), concat_ws(' | ', o.opcintype::regtype, o.opcdefault,
    nullif(o.opckeytype,0)::regtype, f.opfname, (select string_agg(amopstrategy||' '||amopopr::regoperator, ','
    order by amopstrategy, amopopr::regoperator::text) from pg_amop where amopfamily = o.opcfamily),
    (select string_agg(amprocnum||' '||amproc::regprocedure, ',' order by amprocnum, amproc::regprocedure::text) from pg_amproc
    where amprocfamily = o.opcfamily)) from pg_opclass o join pg_namespace n on n.oid=o.opcnamespace
    join pg_am a on a.oid=o.opcmethod join pg_opfamily f on f.oid=o.opcfamily where o.oid >= 16384
    and ('pg_opclass'::regclass::oid, o.oid) not in (select classid, objid from ext)
union all
select 'collation', c.oid::regcollation::text, concat_ws(' | ', c.collprovider, c.collisdeterministic, c.collencoding,
    c.collcollate, c.collctype, coalesce(to_jsonb(c)->>'collicurules', null), coalesce(to_jsonb(c)->>'colliculocale',
    to_jsonb(c)->>'colllocale'), 'recorded '||c.collversion, 'actual '||pg_collation_actual_version(c.oid)) from pg_collation c
    where c.oid >= 16384 or c.oid in (select attcollation from pg_attribute where attnum > 0 and attrelid >= 16384)
union all
select 'ts config', c.cfgnamespace::regnamespace||'.'||c.cfgname, concat_ws(' | ', (select prsname from pg_ts_parser
    where oid = c.cfgparser), (select string_agg(m.maptokentype||':'||m.mapseqno||':'||m.mapdict::regdictionary, ','
    order by m.maptokentype, m.mapseqno) from pg_ts_config_map m where m.mapcfg = c.oid)) from pg_ts_config c
    where c.oid >= 16384 and ('pg_ts_config'::regclass::oid, c.oid) not in (select classid, objid from ext)
union all
select 'ts dict', d.dictnamespace::regnamespace||'.'||d.dictname, concat_ws(' | ', t.tmplname, d.dictinitoption)
    from pg_ts_dict d join pg_ts_template t on t.oid = d.dicttemplate where d.oid >= 16384 and ('pg_ts_dict'::regclass::oid,
    d.oid) not in (select classid, objid from ext)
union all
select 'language', l.lanname, concat_ws(' | ', l.lanpltrusted, pg_get_userbyid(l.lanowner), l.lanacl::text) from pg_language l
union all
select 'large object', l.oid::text, concat_ws(' | ', 'owner '||pg_get_userbyid(l.lomowner), 'acl '||l.lomacl::text)
    from pg_largeobject_metadata l
union all
select 'view', c.oid::regclass::text, pg_get_viewdef(c.oid) from pg_class c join ns on ns.oid = c.relnamespace
    where c.relkind in ('v','m') and (1259::regclass::oid, c.oid) not in (select classid, objid from ext)
order by 1, 2, 3

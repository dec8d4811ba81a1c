-- How each column enters a row's image, in three ways: for the record hash of one major version, for record_send of any, and as
-- bytes by itself. An output function, never ::text: a cast may be the owner's own function, and would run with our rights.
with recursive col(ord, name, type, coll) as (%COLUMNS%),
base(oid, bt) as (
  select type, type from col
  union select b.oid, t.typbasetype from base b join pg_type t on t.oid = b.bt where t.typtype = 'd'
), ty as (
  select b.oid, b.bt, t.typsend, t.typoutput,
    case when b.oid <> b.bt then '::' || format_type(b.bt, -1) else '' end as undomained,
    case
      -- An OID inside that means something else elsewhere; no send function (aclitem).
      when t.typcategory = 'N' and t.typname ~ '^reg' or e.typcategory = 'N' and e.typname ~ '^reg' then 'text'
      when t.typsend = 0 or coalesce(e.typsend, 1) = 0 then 'text'
      -- Built in, with an OID that is fixed for ever.
      when b.bt < 10000 and t.typtype in ('b', 'r', 'm') then 'raw'
      when t.typtype in ('b', 'e') and t.typsend not in ('array_send'::regproc, 'record_send'::regproc) then 'send'
      -- Composite types, and arrays and ranges of the user's own types: OIDs inside.
      else 'text'
    end as how
  from base b join pg_type t on t.oid = b.bt and t.typtype <> 'd'
  left join pg_type e on e.oid = t.typelem and t.typsend = 'array_send'::regproc
), form as (
  select col.ord, col.name, ty.bt, ty.how, collisdeterministic, format('t.%I%s', col.name, ty.undomained) as value,
    format('%s(t.%I%s)', ty.typsend::regproc, col.name, ty.undomained) as sent,
    format('textin(%s(t.%I%s))', ty.typoutput::regproc, col.name, ty.undomained) as written
  from col join ty on ty.oid = col.type left join pg_collation on pg_collation.oid = col.coll
)
select
  case
    when how = 'text' then format('textsend(%s)', written)
    -- bool bytea "char" name int2 int4 oid date uuid macaddr macaddr8 inet: equal only when identical, and hashed whole.
    when bt in (16, 17, 18, 19, 21, 23, 26, 1082, 2950, 829, 774, 869) then value
    when bt in (25, 1043) and collisdeterministic then value
    else sent end,
  case how when 'raw' then value when 'send' then sent else written end,
  case how when 'text' then format('textsend(%s)', written) else sent end
from form order by ord

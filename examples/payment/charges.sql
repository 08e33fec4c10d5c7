-- What the owner of the database makes once. The password comes from psql's \password, or from a variable of psql.
create role payment login;
create table charges (
  number bigint generated always as identity primary key,
  email text not null,
  amount numeric not null,
  made timestamptz not null default now()
);
grant insert, select on charges to payment;

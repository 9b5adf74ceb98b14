-- Two roles: one owns the tables and migrates, the other runs the processes and can change no table. As a superuser:
--   psql -d producer -f ops/postgres/roles.sql, then \password for both.
-- Repeatable. Run it before the first `migrate`; after it, for tables that are there already.

DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'producer_owner') THEN CREATE ROLE producer_owner LOGIN; END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'producer_app') THEN CREATE ROLE producer_app LOGIN; END IF;
END $$;

-- The deadlines that a direct connection sets by itself (producer/env.py); behind PgBouncer they can only come from here.
ALTER ROLE producer_app SET statement_timeout = '10s';
ALTER ROLE producer_app SET lock_timeout = '2s';
ALTER ROLE producer_app SET idle_in_transaction_session_timeout = '30s';

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO producer_owner;
GRANT USAGE ON SCHEMA public TO producer_app;

GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO producer_app;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO producer_app;
ALTER DEFAULT PRIVILEGES FOR ROLE producer_owner IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO producer_app;
ALTER DEFAULT PRIVILEGES FOR ROLE producer_owner IN SCHEMA public GRANT USAGE ON SEQUENCES TO producer_app;

-- Who must not be written to: one row an entry, kept when it was removed (`removed`), so that its addition does not come back late.
-- Anybody may insert a row or set `removed`; every gateway learns of it. `changed` is the transaction of the last change: readers go by it, behind
-- the oldest transaction that is still running, so they miss nothing.
CREATE TABLE mailwright.suppression (
    id         text        PRIMARY KEY DEFAULT gen_random_uuid()::text CHECK (id <> '' AND length(id) <= 255),
    address    text        NOT NULL CHECK (address <> ''),
    reason     text        NOT NULL DEFAULT 'manual' CHECK (reason IN
        ('hard_bounce', 'complaint', 'invalid', 'unsubscribe', 'manual', 'imported', 'soft_bounce_limit')),
    scope      text        NOT NULL DEFAULT 'global' CHECK (scope IN ('global', 'account', 'stream', 'list')),
    account    text        NOT NULL DEFAULT '' CHECK (scope <> 'account' OR account <> ''),
    stream     text        NOT NULL DEFAULT '' CHECK (scope <> 'stream' OR stream <> ''),
    list       text        NOT NULL DEFAULT '' CHECK (scope <> 'list' OR list <> ''),
    origin     text        NOT NULL DEFAULT 'database',
    evidence   text        NOT NULL DEFAULT '',
    created    timestamptz NOT NULL DEFAULT now(),
    expires    timestamptz,
    code       integer     NOT NULL DEFAULT 0,
    enhanced   text        NOT NULL DEFAULT '',
    diagnostic text        NOT NULL DEFAULT '',
    campaign   text        NOT NULL DEFAULT '',
    message_id text        NOT NULL DEFAULT '',
    batch      text        NOT NULL DEFAULT '',
    removed    timestamptz,
    changed    xid8        NOT NULL DEFAULT pg_current_xact_id()
);

CREATE INDEX suppression_address ON mailwright.suppression (address);
CREATE INDEX suppression_changed ON mailwright.suppression (changed, id);

CREATE FUNCTION mailwright.suppression_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed := pg_current_xact_id();
    IF TG_OP = 'UPDATE' AND OLD.removed IS NOT NULL THEN
        NEW.removed := OLD.removed;  -- what was removed stays so: a new suppression is a new row
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER suppression_changes BEFORE INSERT OR UPDATE ON mailwright.suppression
    FOR EACH ROW EXECUTE FUNCTION mailwright.suppression_changes();

CREATE FUNCTION mailwright.suppression_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NOTIFY mailwright_suppression;
    RETURN NULL;
END $$;

CREATE TRIGGER suppression_notify AFTER INSERT OR UPDATE ON mailwright.suppression
    FOR EACH STATEMENT EXECUTE FUNCTION mailwright.suppression_notify();

-- For CRMs: what holds now.
CREATE VIEW mailwright.suppressed AS
    SELECT id, address, reason, scope, account, stream, list, origin, created, expires, diagnostic, campaign, message_id
    FROM mailwright.suppression WHERE removed IS NULL AND (expires IS NULL OR expires > now());

-- What a CRM asks about one address, in one row: state, how often it was solicited and by whom, consent, suppression.

-- Consent, stated by applications: insert or update a row; Mailwright reads it in the view below and never writes it.
CREATE TABLE mailwright.consent (
    recipient   text        NOT NULL CHECK (recipient <> ''),
    stream_kind text        NOT NULL DEFAULT 'marketing' CHECK (stream_kind <> ''),
    given       boolean     NOT NULL,
    stated      timestamptz NOT NULL DEFAULT now(),
    stated_by   text        NOT NULL DEFAULT '',
    evidence    text        NOT NULL DEFAULT '',
    PRIMARY KEY (recipient, stream_kind)
);

-- Days are days of UTC, as in contact_day.
CREATE OR REPLACE VIEW mailwright.solicitation AS
    SELECT recipient, stream_kind, account,
           coalesce(sum(deliveries) FILTER (WHERE day > (now() AT TIME ZONE 'UTC')::date - 7), 0)  AS deliveries_7_days,
           coalesce(sum(deliveries) FILTER (WHERE day > (now() AT TIME ZONE 'UTC')::date - 30), 0) AS deliveries_30_days
    FROM mailwright.contact_day GROUP BY recipient, stream_kind, account;

CREATE VIEW mailwright.contact AS
    SELECT s.recipient, s.last_event, s.last_delivered, s.last_bounced, s.last_complaint, s.soft_streak, s.last_solicited, s.last_solicited_by,
           coalesce(d.marketing_7_days, 0) AS marketing_7_days, coalesce(d.marketing_30_days, 0) AS marketing_30_days,
           coalesce(d.transactional_7_days, 0) AS transactional_7_days, coalesce(d.transactional_30_days, 0) AS transactional_30_days,
           c.given AS consent, c.stated AS consent_stated,
           EXISTS (SELECT 1 FROM mailwright.suppressed x WHERE x.address = s.recipient AND x.scope = 'global') AS suppressed
    FROM mailwright.contact_state s
    LEFT JOIN mailwright.consent c ON c.recipient = s.recipient AND c.stream_kind = 'marketing'
    LEFT JOIN LATERAL (
        SELECT sum(deliveries) FILTER (WHERE stream_kind = 'marketing' AND day > today - 7) AS marketing_7_days,
               sum(deliveries) FILTER (WHERE stream_kind = 'marketing') AS marketing_30_days,
               sum(deliveries) FILTER (WHERE stream_kind = 'transactional' AND day > today - 7) AS transactional_7_days,
               sum(deliveries) FILTER (WHERE stream_kind = 'transactional') AS transactional_30_days
        FROM mailwright.contact_day k, LATERAL (SELECT (now() AT TIME ZONE 'UTC')::date AS today) t
        WHERE k.recipient = s.recipient AND day > today - 30
    ) d ON true;

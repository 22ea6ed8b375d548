--
-- PostgreSQL database dump
--


-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: planhat; Type: SCHEMA; Schema: -; Owner: -
--

CREATE SCHEMA planhat;


--
-- Name: planhat_sync; Type: SCHEMA; Schema: -; Owner: -
--

CREATE SCHEMA planhat_sync;


SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: actions; Type: TABLE; Schema: planhat; Owner: -
--

CREATE TABLE planhat.actions (
    id bigint NOT NULL,
    action text NOT NULL,
    kind text NOT NULL,
    object text NOT NULL,
    record_id text NOT NULL,
    company_id text,
    end_user_id text,
    happened_at timestamp with time zone NOT NULL,
    seen_at timestamp with time zone DEFAULT now() NOT NULL,
    run_id bigint NOT NULL,
    changes jsonb,
    CONSTRAINT actions_kind_check CHECK ((kind = ANY (ARRAY['created'::text, 'updated'::text, 'deleted'::text, 'restored'::text])))
);


--
-- Name: TABLE actions; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON TABLE planhat.actions IS 'What happened, one row per change that was stored, kept by planhat-sync. See also the view timeline.';


--
-- Name: COLUMN actions.id; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.actions.id IS 'grows in the order in which actions are committed: nothing comes later with a smaller one';


--
-- Name: COLUMN actions.action; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.actions.action IS 'the name people know it by, as in Company Updated';


--
-- Name: COLUMN actions.kind; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.actions.kind IS 'created: first seen; updated: something in it changed; deleted: gone at Planhat; restored: back again';


--
-- Name: COLUMN actions.object; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.actions.object IS 'the table of the record, as in companies';


--
-- Name: COLUMN actions.record_id; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.actions.record_id IS 'planhat__id of the record';


--
-- Name: COLUMN actions.company_id; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.actions.company_id IS 'planhat__id of its company, if it has exactly one';


--
-- Name: COLUMN actions.end_user_id; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.actions.end_user_id IS 'planhat__id of its end user, if it has exactly one';


--
-- Name: COLUMN actions.happened_at; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.actions.happened_at IS 'when it happened at Planhat; where Planhat does not tell (computed values, deletions), the same as seen_at';


--
-- Name: COLUMN actions.seen_at; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.actions.seen_at IS 'when it was stored';


--
-- Name: COLUMN actions.run_id; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.actions.run_id IS 'the run that saw it, see planhat_sync.runs';


--
-- Name: COLUMN actions.changes; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.actions.changes IS 'what changed: column to old and new value; null for records created or deleted';


--
-- Name: actions_id_seq; Type: SEQUENCE; Schema: planhat; Owner: -
--

ALTER TABLE planhat.actions ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME planhat.actions_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: companies; Type: TABLE; Schema: planhat; Owner: -
--

CREATE TABLE planhat.companies (
    planhat__id text NOT NULL,
    _row_hash bigint NOT NULL,
    _first_seen_at timestamp with time zone DEFAULT now() NOT NULL,
    _synced_at timestamp with time zone DEFAULT now() NOT NULL,
    _deleted_at timestamp with time zone,
    _run_id bigint NOT NULL,
    _misfits jsonb,
    _overflow jsonb,
    planhat__v numeric,
    planhat__address text,
    planhat__alerts jsonb,
    planhat__arr numeric,
    planhat__auto_renews boolean,
    planhat__city text,
    planhat__co_owner jsonb,
    planhat__collaborators jsonb,
    planhat__country text,
    planhat__create_date timestamp with time zone,
    planhat__created_at timestamp with time zone,
    planhat__csm_score numeric,
    planhat__csm_score_log jsonb,
    planhat__customer_from timestamp with time zone,
    planhat__customer_to timestamp with time zone,
    planhat__days_in_phase numeric,
    planhat__description text,
    planhat__documents jsonb,
    planhat__domains jsonb,
    planhat__external_id text,
    planhat__features jsonb,
    planhat__followers jsonb,
    planhat__health numeric,
    planhat__health_diff numeric,
    planhat__health_diff_date timestamp with time zone,
    planhat__health_profile text,
    planhat__last_active timestamp with time zone,
    planhat__last_activities jsonb,
    planhat__last_performed_triggers jsonb,
    planhat__last_renewal timestamp with time zone,
    planhat__last_touch timestamp with time zone,
    planhat__last_touch_by_type jsonb,
    planhat__last_touch_time timestamp with time zone,
    planhat__last_touch_type text,
    planhat__last_updated timestamp with time zone,
    planhat__links jsonb,
    planhat__mr numeric,
    planhat__mr_total numeric,
    planhat__mrr numeric,
    planhat__mrr_total numeric,
    planhat__name text,
    planhat__next_touch timestamp with time zone,
    planhat__nps numeric,
    planhat__nrr30 numeric,
    planhat__nrr_total numeric,
    planhat__org_independent boolean,
    planhat__org_level text,
    planhat__org_mrr numeric,
    planhat__org_path jsonb,
    planhat__org_root_id text,
    planhat__org_units jsonb,
    planhat__owner jsonb,
    planhat__phase text,
    planhat__phase_since timestamp with time zone,
    planhat__phone_primary text,
    planhat__phone_primary_raw text,
    planhat__products jsonb,
    planhat__renewal_arr numeric,
    planhat__renewal_date timestamp with time zone,
    planhat__renewal_days_from_now numeric,
    planhat__renewal_mrr numeric,
    planhat__sentiment_score numeric,
    planhat__shareable jsonb,
    planhat__slug text,
    planhat__source_id text,
    planhat__status text,
    planhat__sunits jsonb,
    planhat__tags jsonb,
    planhat__updated_at timestamp with time zone,
    planhat__usage jsonb,
    planhat__web text,
    planhat__zip text,
    planhat__overdue_invoices__custom numeric,
    planhat__seats__custom numeric,
    planhat__seats_c69fdec5__custom text,
    planhat__days_until_renewal__custom numeric,
    planhat__executive_sponsor__custom jsonb,
    planhat__grosse_m2__custom numeric,
    planhat__invoice_reference__custom text,
    planhat__is_reference__custom boolean,
    planhat__kick_off__custom timestamp with time zone,
    planhat__modules__custom jsonb,
    planhat__nps_csat__custom numeric,
    planhat__notes__custom text,
    planhat__ratio__custom numeric,
    planhat__tier__custom text,
    planhat__week_no__custom numeric,
    planhat__fan_mai_dai_li_dian__custom text,
    planhat__rocket_go_live_eu__custom timestamp with time zone
);


--
-- Name: TABLE companies; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON TABLE planhat.companies IS 'Planhat companies, one row per record, kept by planhat-sync. A change is known as Company Updated.';


--
-- Name: COLUMN companies.planhat__id; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__id IS '_id (property, text)';


--
-- Name: COLUMN companies._row_hash; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies._row_hash IS 'hash of the record as it came, behind 8 bits that say by which version; one with the same hash is not written again';


--
-- Name: COLUMN companies._first_seen_at; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies._first_seen_at IS 'when the record was first stored';


--
-- Name: COLUMN companies._synced_at; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies._synced_at IS 'when this version was written';


--
-- Name: COLUMN companies._deleted_at; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies._deleted_at IS 'when the record was found gone at Planhat; null while it is there';


--
-- Name: COLUMN companies._run_id; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies._run_id IS 'the run that wrote this version, see planhat_sync.runs';


--
-- Name: COLUMN companies._misfits; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies._misfits IS 'values that do not fit the type of their column, by column name; the column itself is null';


--
-- Name: COLUMN companies._overflow; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies._overflow IS 'values for which the table has no column, or the row no room, under their Planhat names';


--
-- Name: COLUMN companies.planhat__v; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__v IS '__v (property, numeric)';


--
-- Name: COLUMN companies.planhat__address; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__address IS 'address (property, text)';


--
-- Name: COLUMN companies.planhat__alerts; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__alerts IS 'alerts (property, jsonb)';


--
-- Name: COLUMN companies.planhat__arr; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__arr IS 'arr (property, numeric)';


--
-- Name: COLUMN companies.planhat__auto_renews; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__auto_renews IS 'autoRenews (property, boolean)';


--
-- Name: COLUMN companies.planhat__city; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__city IS 'city (property, text)';


--
-- Name: COLUMN companies.planhat__co_owner; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__co_owner IS 'coOwner (property, jsonb)';


--
-- Name: COLUMN companies.planhat__collaborators; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__collaborators IS 'collaborators (property, jsonb)';


--
-- Name: COLUMN companies.planhat__country; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__country IS 'country (property, text)';


--
-- Name: COLUMN companies.planhat__create_date; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__create_date IS 'createDate (property, timestamptz)';


--
-- Name: COLUMN companies.planhat__created_at; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__created_at IS 'createdAt (property, timestamptz)';


--
-- Name: COLUMN companies.planhat__csm_score; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__csm_score IS 'csmScore (property, numeric)';


--
-- Name: COLUMN companies.planhat__csm_score_log; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__csm_score_log IS 'csmScoreLog (property, jsonb)';


--
-- Name: COLUMN companies.planhat__customer_from; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__customer_from IS 'customerFrom (property, timestamptz)';


--
-- Name: COLUMN companies.planhat__customer_to; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__customer_to IS 'customerTo (property, timestamptz)';


--
-- Name: COLUMN companies.planhat__days_in_phase; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__days_in_phase IS 'daysInPhase (property, numeric)';


--
-- Name: COLUMN companies.planhat__description; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__description IS 'description (property, text)';


--
-- Name: COLUMN companies.planhat__documents; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__documents IS 'documents (property, jsonb)';


--
-- Name: COLUMN companies.planhat__domains; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__domains IS 'domains (property, jsonb)';


--
-- Name: COLUMN companies.planhat__external_id; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__external_id IS 'externalId (property, text)';


--
-- Name: COLUMN companies.planhat__features; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__features IS 'features (property, jsonb)';


--
-- Name: COLUMN companies.planhat__followers; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__followers IS 'followers (property, jsonb)';


--
-- Name: COLUMN companies.planhat__health; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__health IS 'h (property, numeric)';


--
-- Name: COLUMN companies.planhat__health_diff; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__health_diff IS 'hDiff (property, numeric)';


--
-- Name: COLUMN companies.planhat__health_diff_date; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__health_diff_date IS 'hDiffDate (property, timestamptz)';


--
-- Name: COLUMN companies.planhat__health_profile; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__health_profile IS 'hProfile (property, text)';


--
-- Name: COLUMN companies.planhat__last_active; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__last_active IS 'lastActive (property, timestamptz)';


--
-- Name: COLUMN companies.planhat__last_activities; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__last_activities IS 'lastActivities (property, jsonb)';


--
-- Name: COLUMN companies.planhat__last_performed_triggers; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__last_performed_triggers IS 'lastPerformedTriggers (property, jsonb)';


--
-- Name: COLUMN companies.planhat__last_renewal; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__last_renewal IS 'lastRenewal (property, timestamptz)';


--
-- Name: COLUMN companies.planhat__last_touch; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__last_touch IS 'lastTouch (property, timestamptz)';


--
-- Name: COLUMN companies.planhat__last_touch_by_type; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__last_touch_by_type IS 'lastTouchByType (property, jsonb)';


--
-- Name: COLUMN companies.planhat__last_touch_time; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__last_touch_time IS 'lastTouchTime (property, timestamptz)';


--
-- Name: COLUMN companies.planhat__last_touch_type; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__last_touch_type IS 'lastTouchType (property, text)';


--
-- Name: COLUMN companies.planhat__last_updated; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__last_updated IS 'lastUpdated (property, timestamptz)';


--
-- Name: COLUMN companies.planhat__links; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__links IS 'links (property, jsonb)';


--
-- Name: COLUMN companies.planhat__mr; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__mr IS 'mr (property, numeric)';


--
-- Name: COLUMN companies.planhat__mr_total; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__mr_total IS 'mrTotal (property, numeric)';


--
-- Name: COLUMN companies.planhat__mrr; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__mrr IS 'mrr (property, numeric)';


--
-- Name: COLUMN companies.planhat__mrr_total; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__mrr_total IS 'mrrTotal (property, numeric)';


--
-- Name: COLUMN companies.planhat__name; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__name IS 'name (property, text)';


--
-- Name: COLUMN companies.planhat__next_touch; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__next_touch IS 'nextTouch (property, timestamptz)';


--
-- Name: COLUMN companies.planhat__nps; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__nps IS 'nps (property, numeric)';


--
-- Name: COLUMN companies.planhat__nrr30; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__nrr30 IS 'nrr30 (property, numeric)';


--
-- Name: COLUMN companies.planhat__nrr_total; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__nrr_total IS 'nrrTotal (property, numeric)';


--
-- Name: COLUMN companies.planhat__org_independent; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__org_independent IS 'orgIndependent (property, boolean)';


--
-- Name: COLUMN companies.planhat__org_level; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__org_level IS 'orgLevel (property, text)';


--
-- Name: COLUMN companies.planhat__org_mrr; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__org_mrr IS 'orgMrr (property, numeric)';


--
-- Name: COLUMN companies.planhat__org_path; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__org_path IS 'orgPath (property, jsonb)';


--
-- Name: COLUMN companies.planhat__org_root_id; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__org_root_id IS 'orgRootId (property, text)';


--
-- Name: COLUMN companies.planhat__org_units; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__org_units IS 'orgUnits (property, jsonb)';


--
-- Name: COLUMN companies.planhat__owner; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__owner IS 'owner (property, jsonb)';


--
-- Name: COLUMN companies.planhat__phase; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__phase IS 'phase (property, text)';


--
-- Name: COLUMN companies.planhat__phase_since; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__phase_since IS 'phaseSince (property, timestamptz)';


--
-- Name: COLUMN companies.planhat__phone_primary; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__phone_primary IS 'phonePrimary (property, text)';


--
-- Name: COLUMN companies.planhat__phone_primary_raw; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__phone_primary_raw IS 'phonePrimaryRaw (property, text)';


--
-- Name: COLUMN companies.planhat__products; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__products IS 'products (property, jsonb)';


--
-- Name: COLUMN companies.planhat__renewal_arr; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__renewal_arr IS 'renewalArr (property, numeric)';


--
-- Name: COLUMN companies.planhat__renewal_date; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__renewal_date IS 'renewalDate (property, timestamptz)';


--
-- Name: COLUMN companies.planhat__renewal_days_from_now; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__renewal_days_from_now IS 'renewalDaysFromNow (property, numeric)';


--
-- Name: COLUMN companies.planhat__renewal_mrr; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__renewal_mrr IS 'renewalMrr (property, numeric)';


--
-- Name: COLUMN companies.planhat__sentiment_score; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__sentiment_score IS 'sentimentScore (property, numeric)';


--
-- Name: COLUMN companies.planhat__shareable; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__shareable IS 'shareable (property, jsonb)';


--
-- Name: COLUMN companies.planhat__slug; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__slug IS 'slug (property, text)';


--
-- Name: COLUMN companies.planhat__source_id; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__source_id IS 'sourceId (property, text)';


--
-- Name: COLUMN companies.planhat__status; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__status IS 'status (property, text)';


--
-- Name: COLUMN companies.planhat__sunits; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__sunits IS 'sunits (property, jsonb)';


--
-- Name: COLUMN companies.planhat__tags; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__tags IS 'tags (property, jsonb)';


--
-- Name: COLUMN companies.planhat__updated_at; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__updated_at IS 'updatedAt (property, timestamptz)';


--
-- Name: COLUMN companies.planhat__usage; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__usage IS 'usage (property, jsonb)';


--
-- Name: COLUMN companies.planhat__web; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__web IS 'web (property, text)';


--
-- Name: COLUMN companies.planhat__zip; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__zip IS 'zip (property, text)';


--
-- Name: COLUMN companies.planhat__overdue_invoices__custom; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__overdue_invoices__custom IS '# Overdue Invoices (custom field, numeric)';


--
-- Name: COLUMN companies.planhat__seats__custom; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__seats__custom IS '# Seats (custom field, numeric)';


--
-- Name: COLUMN companies.planhat__seats_c69fdec5__custom; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__seats_c69fdec5__custom IS '# seats (custom field, text)';


--
-- Name: COLUMN companies.planhat__days_until_renewal__custom; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__days_until_renewal__custom IS 'Days until renewal (custom field, numeric)';


--
-- Name: COLUMN companies.planhat__executive_sponsor__custom; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__executive_sponsor__custom IS 'Executive sponsor (custom field, jsonb)';


--
-- Name: COLUMN companies.planhat__grosse_m2__custom; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__grosse_m2__custom IS 'Größe (m²) (custom field, numeric)';


--
-- Name: COLUMN companies.planhat__invoice_reference__custom; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__invoice_reference__custom IS 'Invoice reference (custom field, text)';


--
-- Name: COLUMN companies.planhat__is_reference__custom; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__is_reference__custom IS 'Is reference? (custom field, boolean)';


--
-- Name: COLUMN companies.planhat__kick_off__custom; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__kick_off__custom IS 'Kick-off (custom field, timestamptz)';


--
-- Name: COLUMN companies.planhat__modules__custom; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__modules__custom IS 'Modules (custom field, jsonb)';


--
-- Name: COLUMN companies.planhat__nps_csat__custom; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__nps_csat__custom IS 'NPS + CSAT (custom field, numeric)';


--
-- Name: COLUMN companies.planhat__notes__custom; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__notes__custom IS 'Notes (custom field, text)';


--
-- Name: COLUMN companies.planhat__ratio__custom; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__ratio__custom IS 'Ratio (custom field, numeric)';


--
-- Name: COLUMN companies.planhat__tier__custom; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__tier__custom IS 'Tier? (custom field, text)';


--
-- Name: COLUMN companies.planhat__week_no__custom; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__week_no__custom IS 'Week No (custom field, numeric)';


--
-- Name: COLUMN companies.planhat__fan_mai_dai_li_dian__custom; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__fan_mai_dai_li_dian__custom IS '販売代理店 (custom field, text)';


--
-- Name: COLUMN companies.planhat__rocket_go_live_eu__custom; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.companies.planhat__rocket_go_live_eu__custom IS '🚀 Go–live [EU] (custom field, timestamptz)';


--
-- Name: conversations; Type: TABLE; Schema: planhat; Owner: -
--

CREATE TABLE planhat.conversations (
    planhat__id text NOT NULL,
    _row_hash bigint NOT NULL,
    _first_seen_at timestamp with time zone DEFAULT now() NOT NULL,
    _synced_at timestamp with time zone DEFAULT now() NOT NULL,
    _deleted_at timestamp with time zone,
    _run_id bigint NOT NULL,
    _misfits jsonb,
    _overflow jsonb,
    planhat__v numeric,
    planhat__activity_tags jsonb,
    planhat__archived boolean,
    planhat__auto_tags jsonb,
    planhat__company_id text,
    planhat__company_name text,
    planhat__create_date timestamp with time zone,
    planhat__created_at timestamp with time zone,
    planhat__date timestamp with time zone,
    planhat__days numeric,
    planhat__description text,
    planhat__email text,
    planhat__email_template_ids jsonb,
    planhat__end_date timestamp with time zone,
    planhat__endusers jsonb,
    planhat__external_id text,
    planhat__followers jsonb,
    planhat__has_attachments boolean,
    planhat__has_more boolean,
    planhat__history jsonb,
    planhat__in_date timestamp with time zone,
    planhat__is_bounced boolean,
    planhat__is_custom_type boolean,
    planhat__is_open boolean,
    planhat__is_seen boolean,
    planhat__note text,
    planhat__number_of_parts numeric,
    planhat__number_of_relevant_parts numeric,
    planhat__out_date timestamp with time zone,
    planhat__pinned boolean,
    planhat__scheduled boolean,
    planhat__sender jsonb,
    planhat__severity text,
    planhat__snippet text,
    planhat__source text,
    planhat__starred boolean,
    planhat__start_date timestamp with time zone,
    planhat__status text,
    planhat__subject text,
    planhat__tags jsonb,
    planhat__task_id text,
    planhat__time_bucket jsonb,
    planhat__transcript text,
    planhat__type text,
    planhat__updated_at timestamp with time zone,
    planhat__url text,
    planhat__user_ids jsonb,
    planhat__users jsonb,
    planhat__attendees__custom numeric,
    planhat__priority__custom numeric,
    planhat__rating__custom numeric,
    planhat__reopened_on__custom timestamp with time zone,
    planhat__sentiment__custom text,
    planhat__topics__custom jsonb
);


--
-- Name: TABLE conversations; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON TABLE planhat.conversations IS 'Planhat conversations, one row per record, kept by planhat-sync. A change is known as Conversation Updated.';


--
-- Name: COLUMN conversations.planhat__id; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__id IS '_id (property, text)';


--
-- Name: COLUMN conversations._row_hash; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations._row_hash IS 'hash of the record as it came, behind 8 bits that say by which version; one with the same hash is not written again';


--
-- Name: COLUMN conversations._first_seen_at; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations._first_seen_at IS 'when the record was first stored';


--
-- Name: COLUMN conversations._synced_at; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations._synced_at IS 'when this version was written';


--
-- Name: COLUMN conversations._deleted_at; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations._deleted_at IS 'when the record was found gone at Planhat; null while it is there';


--
-- Name: COLUMN conversations._run_id; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations._run_id IS 'the run that wrote this version, see planhat_sync.runs';


--
-- Name: COLUMN conversations._misfits; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations._misfits IS 'values that do not fit the type of their column, by column name; the column itself is null';


--
-- Name: COLUMN conversations._overflow; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations._overflow IS 'values for which the table has no column, or the row no room, under their Planhat names';


--
-- Name: COLUMN conversations.planhat__v; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__v IS '__v (property, numeric)';


--
-- Name: COLUMN conversations.planhat__activity_tags; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__activity_tags IS 'activityTags (property, jsonb)';


--
-- Name: COLUMN conversations.planhat__archived; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__archived IS 'archived (property, boolean)';


--
-- Name: COLUMN conversations.planhat__auto_tags; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__auto_tags IS 'autoTags (property, jsonb)';


--
-- Name: COLUMN conversations.planhat__company_id; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__company_id IS 'companyId (property, text)';


--
-- Name: COLUMN conversations.planhat__company_name; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__company_name IS 'companyName (property, text)';


--
-- Name: COLUMN conversations.planhat__create_date; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__create_date IS 'createDate (property, timestamptz)';


--
-- Name: COLUMN conversations.planhat__created_at; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__created_at IS 'createdAt (property, timestamptz)';


--
-- Name: COLUMN conversations.planhat__date; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__date IS 'date (property, timestamptz)';


--
-- Name: COLUMN conversations.planhat__days; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__days IS 'days (property, numeric)';


--
-- Name: COLUMN conversations.planhat__description; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__description IS 'description (property, text)';


--
-- Name: COLUMN conversations.planhat__email; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__email IS 'email (property, text)';


--
-- Name: COLUMN conversations.planhat__email_template_ids; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__email_template_ids IS 'emailTemplateIds (property, jsonb)';


--
-- Name: COLUMN conversations.planhat__end_date; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__end_date IS 'endDate (property, timestamptz)';


--
-- Name: COLUMN conversations.planhat__endusers; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__endusers IS 'endusers (property, jsonb)';


--
-- Name: COLUMN conversations.planhat__external_id; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__external_id IS 'externalId (property, text)';


--
-- Name: COLUMN conversations.planhat__followers; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__followers IS 'followers (property, jsonb)';


--
-- Name: COLUMN conversations.planhat__has_attachments; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__has_attachments IS 'hasAttachments (property, boolean)';


--
-- Name: COLUMN conversations.planhat__has_more; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__has_more IS 'hasMore (property, boolean)';


--
-- Name: COLUMN conversations.planhat__history; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__history IS 'history (property, jsonb)';


--
-- Name: COLUMN conversations.planhat__in_date; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__in_date IS 'inDate (property, timestamptz)';


--
-- Name: COLUMN conversations.planhat__is_bounced; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__is_bounced IS 'isBounced (property, boolean)';


--
-- Name: COLUMN conversations.planhat__is_custom_type; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__is_custom_type IS 'isCustomType (property, boolean)';


--
-- Name: COLUMN conversations.planhat__is_open; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__is_open IS 'isOpen (property, boolean)';


--
-- Name: COLUMN conversations.planhat__is_seen; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__is_seen IS 'isSeen (property, boolean)';


--
-- Name: COLUMN conversations.planhat__note; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__note IS 'note (property, text)';


--
-- Name: COLUMN conversations.planhat__number_of_parts; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__number_of_parts IS 'numberOfParts (property, numeric)';


--
-- Name: COLUMN conversations.planhat__number_of_relevant_parts; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__number_of_relevant_parts IS 'numberOfRelevantParts (property, numeric)';


--
-- Name: COLUMN conversations.planhat__out_date; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__out_date IS 'outDate (property, timestamptz)';


--
-- Name: COLUMN conversations.planhat__pinned; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__pinned IS 'pinned (property, boolean)';


--
-- Name: COLUMN conversations.planhat__scheduled; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__scheduled IS 'scheduled (property, boolean)';


--
-- Name: COLUMN conversations.planhat__sender; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__sender IS 'sender (property, jsonb)';


--
-- Name: COLUMN conversations.planhat__severity; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__severity IS 'severity (property, text)';


--
-- Name: COLUMN conversations.planhat__snippet; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__snippet IS 'snippet (property, text)';


--
-- Name: COLUMN conversations.planhat__source; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__source IS 'source (property, text)';


--
-- Name: COLUMN conversations.planhat__starred; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__starred IS 'starred (property, boolean)';


--
-- Name: COLUMN conversations.planhat__start_date; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__start_date IS 'startDate (property, timestamptz)';


--
-- Name: COLUMN conversations.planhat__status; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__status IS 'status (property, text)';


--
-- Name: COLUMN conversations.planhat__subject; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__subject IS 'subject (property, text)';


--
-- Name: COLUMN conversations.planhat__tags; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__tags IS 'tags (property, jsonb)';


--
-- Name: COLUMN conversations.planhat__task_id; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__task_id IS 'taskId (property, text)';


--
-- Name: COLUMN conversations.planhat__time_bucket; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__time_bucket IS 'timeBucket (property, jsonb)';


--
-- Name: COLUMN conversations.planhat__transcript; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__transcript IS 'transcript (property, text)';


--
-- Name: COLUMN conversations.planhat__type; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__type IS 'type (property, text)';


--
-- Name: COLUMN conversations.planhat__updated_at; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__updated_at IS 'updatedAt (property, timestamptz)';


--
-- Name: COLUMN conversations.planhat__url; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__url IS 'url (property, text)';


--
-- Name: COLUMN conversations.planhat__user_ids; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__user_ids IS 'userIds (property, jsonb)';


--
-- Name: COLUMN conversations.planhat__users; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__users IS 'users (property, jsonb)';


--
-- Name: COLUMN conversations.planhat__attendees__custom; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__attendees__custom IS 'Attendees (custom field, numeric)';


--
-- Name: COLUMN conversations.planhat__priority__custom; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__priority__custom IS 'Priority # (custom field, numeric)';


--
-- Name: COLUMN conversations.planhat__rating__custom; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__rating__custom IS 'Rating (custom field, numeric)';


--
-- Name: COLUMN conversations.planhat__reopened_on__custom; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__reopened_on__custom IS 'Reopened on (custom field, timestamptz)';


--
-- Name: COLUMN conversations.planhat__sentiment__custom; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__sentiment__custom IS 'Sentiment (custom field, text)';


--
-- Name: COLUMN conversations.planhat__topics__custom; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.conversations.planhat__topics__custom IS 'Topics (custom field, jsonb)';


--
-- Name: endusers; Type: TABLE; Schema: planhat; Owner: -
--

CREATE TABLE planhat.endusers (
    planhat__id text NOT NULL,
    _row_hash bigint NOT NULL,
    _first_seen_at timestamp with time zone DEFAULT now() NOT NULL,
    _synced_at timestamp with time zone DEFAULT now() NOT NULL,
    _deleted_at timestamp with time zone,
    _run_id bigint NOT NULL,
    _misfits jsonb,
    _overflow jsonb,
    planhat__v numeric,
    planhat__archived boolean,
    planhat__beat_trend numeric,
    planhat__beats numeric,
    planhat__beats_total numeric,
    planhat__company_id text,
    planhat__company_name text,
    planhat__convs14 numeric,
    planhat__convs_total numeric,
    planhat__create_date timestamp with time zone,
    planhat__created_at timestamp with time zone,
    planhat__email text,
    planhat__email_md5 text,
    planhat__experience numeric,
    planhat__external_id text,
    planhat__featured boolean,
    planhat__first_name text,
    planhat__last_active timestamp with time zone,
    planhat__last_name text,
    planhat__last_touch timestamp with time zone,
    planhat__last_touch_by_type jsonb,
    planhat__last_touch_type text,
    planhat__name text,
    planhat__nps numeric,
    planhat__nps_comment text,
    planhat__nps_date timestamp with time zone,
    planhat__nps_unsubscribed boolean,
    planhat__other_emails jsonb,
    planhat__personas jsonb,
    planhat__phone text,
    planhat__position text,
    planhat__primary boolean,
    planhat__related_endusers jsonb,
    planhat__shared_notifications_prefs jsonb,
    planhat__source_id text,
    planhat__tags jsonb,
    planhat__updated_at timestamp with time zone,
    planhat__usage jsonb,
    planhat__champion__custom boolean,
    planhat__interests__custom jsonb,
    planhat__role_internal__custom text,
    planhat__score__custom numeric,
    planhat__trained_on__custom timestamp with time zone
);


--
-- Name: TABLE endusers; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON TABLE planhat.endusers IS 'Planhat endusers, one row per record, kept by planhat-sync. A change is known as Contact Updated.';


--
-- Name: COLUMN endusers.planhat__id; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__id IS '_id (property, text)';


--
-- Name: COLUMN endusers._row_hash; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers._row_hash IS 'hash of the record as it came, behind 8 bits that say by which version; one with the same hash is not written again';


--
-- Name: COLUMN endusers._first_seen_at; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers._first_seen_at IS 'when the record was first stored';


--
-- Name: COLUMN endusers._synced_at; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers._synced_at IS 'when this version was written';


--
-- Name: COLUMN endusers._deleted_at; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers._deleted_at IS 'when the record was found gone at Planhat; null while it is there';


--
-- Name: COLUMN endusers._run_id; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers._run_id IS 'the run that wrote this version, see planhat_sync.runs';


--
-- Name: COLUMN endusers._misfits; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers._misfits IS 'values that do not fit the type of their column, by column name; the column itself is null';


--
-- Name: COLUMN endusers._overflow; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers._overflow IS 'values for which the table has no column, or the row no room, under their Planhat names';


--
-- Name: COLUMN endusers.planhat__v; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__v IS '__v (property, numeric)';


--
-- Name: COLUMN endusers.planhat__archived; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__archived IS 'archived (property, boolean)';


--
-- Name: COLUMN endusers.planhat__beat_trend; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__beat_trend IS 'beatTrend (property, numeric)';


--
-- Name: COLUMN endusers.planhat__beats; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__beats IS 'beats (property, numeric)';


--
-- Name: COLUMN endusers.planhat__beats_total; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__beats_total IS 'beatsTotal (property, numeric)';


--
-- Name: COLUMN endusers.planhat__company_id; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__company_id IS 'companyId (property, text)';


--
-- Name: COLUMN endusers.planhat__company_name; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__company_name IS 'companyName (property, text)';


--
-- Name: COLUMN endusers.planhat__convs14; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__convs14 IS 'convs14 (property, numeric)';


--
-- Name: COLUMN endusers.planhat__convs_total; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__convs_total IS 'convsTotal (property, numeric)';


--
-- Name: COLUMN endusers.planhat__create_date; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__create_date IS 'createDate (property, timestamptz)';


--
-- Name: COLUMN endusers.planhat__created_at; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__created_at IS 'createdAt (property, timestamptz)';


--
-- Name: COLUMN endusers.planhat__email; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__email IS 'email (property, text)';


--
-- Name: COLUMN endusers.planhat__email_md5; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__email_md5 IS 'emailMd5 (property, text)';


--
-- Name: COLUMN endusers.planhat__experience; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__experience IS 'experience (property, numeric)';


--
-- Name: COLUMN endusers.planhat__external_id; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__external_id IS 'externalId (property, text)';


--
-- Name: COLUMN endusers.planhat__featured; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__featured IS 'featured (property, boolean)';


--
-- Name: COLUMN endusers.planhat__first_name; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__first_name IS 'firstName (property, text)';


--
-- Name: COLUMN endusers.planhat__last_active; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__last_active IS 'lastActive (property, timestamptz)';


--
-- Name: COLUMN endusers.planhat__last_name; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__last_name IS 'lastName (property, text)';


--
-- Name: COLUMN endusers.planhat__last_touch; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__last_touch IS 'lastTouch (property, timestamptz)';


--
-- Name: COLUMN endusers.planhat__last_touch_by_type; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__last_touch_by_type IS 'lastTouchByType (property, jsonb)';


--
-- Name: COLUMN endusers.planhat__last_touch_type; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__last_touch_type IS 'lastTouchType (property, text)';


--
-- Name: COLUMN endusers.planhat__name; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__name IS 'name (property, text)';


--
-- Name: COLUMN endusers.planhat__nps; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__nps IS 'nps (property, numeric)';


--
-- Name: COLUMN endusers.planhat__nps_comment; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__nps_comment IS 'npsComment (property, text)';


--
-- Name: COLUMN endusers.planhat__nps_date; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__nps_date IS 'npsDate (property, timestamptz)';


--
-- Name: COLUMN endusers.planhat__nps_unsubscribed; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__nps_unsubscribed IS 'npsUnsubscribed (property, boolean)';


--
-- Name: COLUMN endusers.planhat__other_emails; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__other_emails IS 'otherEmails (property, jsonb)';


--
-- Name: COLUMN endusers.planhat__personas; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__personas IS 'personas (property, jsonb)';


--
-- Name: COLUMN endusers.planhat__phone; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__phone IS 'phone (property, text)';


--
-- Name: COLUMN endusers.planhat__position; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__position IS 'position (property, text)';


--
-- Name: COLUMN endusers.planhat__primary; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__primary IS 'primary (property, boolean)';


--
-- Name: COLUMN endusers.planhat__related_endusers; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__related_endusers IS 'relatedEndusers (property, jsonb)';


--
-- Name: COLUMN endusers.planhat__shared_notifications_prefs; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__shared_notifications_prefs IS 'sharedNotificationsPrefs (property, jsonb)';


--
-- Name: COLUMN endusers.planhat__source_id; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__source_id IS 'sourceId (property, text)';


--
-- Name: COLUMN endusers.planhat__tags; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__tags IS 'tags (property, jsonb)';


--
-- Name: COLUMN endusers.planhat__updated_at; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__updated_at IS 'updatedAt (property, timestamptz)';


--
-- Name: COLUMN endusers.planhat__usage; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__usage IS 'usage (property, jsonb)';


--
-- Name: COLUMN endusers.planhat__champion__custom; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__champion__custom IS 'Champion? (custom field, boolean)';


--
-- Name: COLUMN endusers.planhat__interests__custom; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__interests__custom IS 'Interests (custom field, jsonb)';


--
-- Name: COLUMN endusers.planhat__role_internal__custom; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__role_internal__custom IS 'Role (internal) (custom field, text)';


--
-- Name: COLUMN endusers.planhat__score__custom; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__score__custom IS 'Score (custom field, numeric)';


--
-- Name: COLUMN endusers.planhat__trained_on__custom; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.endusers.planhat__trained_on__custom IS 'Trained on (custom field, timestamptz)';


--
-- Name: licenses; Type: TABLE; Schema: planhat; Owner: -
--

CREATE TABLE planhat.licenses (
    planhat__id text NOT NULL,
    _row_hash bigint NOT NULL,
    _first_seen_at timestamp with time zone DEFAULT now() NOT NULL,
    _synced_at timestamp with time zone DEFAULT now() NOT NULL,
    _deleted_at timestamp with time zone,
    _run_id bigint NOT NULL,
    _misfits jsonb,
    _overflow jsonb,
    planhat__v numeric,
    planhat__currency jsonb,
    planhat__arr numeric,
    planhat__auto_renews boolean,
    planhat__company_id text,
    planhat__company_name text,
    planhat__external_id text,
    planhat__fc_new_mrr numeric,
    planhat__fc_new_mrr_optimistic numeric,
    planhat__fc_new_mrr_pessimistic numeric,
    planhat__fixed_period boolean,
    planhat__from_date timestamp with time zone,
    planhat__invoice_cycle text,
    planhat__invoice_cycle_interval numeric,
    planhat__invoice_muted boolean,
    planhat__invoices_generated boolean,
    planhat__is_overdue boolean,
    planhat__issues jsonb,
    planhat__length numeric,
    planhat__mrr numeric,
    planhat__notice_period numeric,
    planhat__notice_unit text,
    planhat__parent text,
    planhat__product text,
    planhat__renewal_date timestamp with time zone,
    planhat__renewal_days_from_now numeric,
    planhat__renewal_period numeric,
    planhat__renewal_status text,
    planhat__renewal_unit text,
    planhat__status text,
    planhat__to_date timestamp with time zone,
    planhat__to_date_included boolean,
    planhat__value numeric,
    planhat__discount__custom numeric,
    planhat__po_number__custom text
);


--
-- Name: TABLE licenses; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON TABLE planhat.licenses IS 'Planhat licenses, one row per record, kept by planhat-sync. A change is known as License Updated.';


--
-- Name: COLUMN licenses.planhat__id; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__id IS '_id (property, text)';


--
-- Name: COLUMN licenses._row_hash; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses._row_hash IS 'hash of the record as it came, behind 8 bits that say by which version; one with the same hash is not written again';


--
-- Name: COLUMN licenses._first_seen_at; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses._first_seen_at IS 'when the record was first stored';


--
-- Name: COLUMN licenses._synced_at; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses._synced_at IS 'when this version was written';


--
-- Name: COLUMN licenses._deleted_at; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses._deleted_at IS 'when the record was found gone at Planhat; null while it is there';


--
-- Name: COLUMN licenses._run_id; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses._run_id IS 'the run that wrote this version, see planhat_sync.runs';


--
-- Name: COLUMN licenses._misfits; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses._misfits IS 'values that do not fit the type of their column, by column name; the column itself is null';


--
-- Name: COLUMN licenses._overflow; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses._overflow IS 'values for which the table has no column, or the row no room, under their Planhat names';


--
-- Name: COLUMN licenses.planhat__v; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__v IS '__v (property, numeric)';


--
-- Name: COLUMN licenses.planhat__currency; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__currency IS '_currency (property, jsonb)';


--
-- Name: COLUMN licenses.planhat__arr; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__arr IS 'arr (property, numeric)';


--
-- Name: COLUMN licenses.planhat__auto_renews; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__auto_renews IS 'autoRenews (property, boolean)';


--
-- Name: COLUMN licenses.planhat__company_id; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__company_id IS 'companyId (property, text)';


--
-- Name: COLUMN licenses.planhat__company_name; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__company_name IS 'companyName (property, text)';


--
-- Name: COLUMN licenses.planhat__external_id; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__external_id IS 'externalId (property, text)';


--
-- Name: COLUMN licenses.planhat__fc_new_mrr; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__fc_new_mrr IS 'fcNewMrr (property, numeric)';


--
-- Name: COLUMN licenses.planhat__fc_new_mrr_optimistic; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__fc_new_mrr_optimistic IS 'fcNewMrrOptimistic (property, numeric)';


--
-- Name: COLUMN licenses.planhat__fc_new_mrr_pessimistic; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__fc_new_mrr_pessimistic IS 'fcNewMrrPessimistic (property, numeric)';


--
-- Name: COLUMN licenses.planhat__fixed_period; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__fixed_period IS 'fixedPeriod (property, boolean)';


--
-- Name: COLUMN licenses.planhat__from_date; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__from_date IS 'fromDate (property, timestamptz)';


--
-- Name: COLUMN licenses.planhat__invoice_cycle; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__invoice_cycle IS 'invoiceCycle (property, text)';


--
-- Name: COLUMN licenses.planhat__invoice_cycle_interval; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__invoice_cycle_interval IS 'invoiceCycleInterval (property, numeric)';


--
-- Name: COLUMN licenses.planhat__invoice_muted; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__invoice_muted IS 'invoiceMuted (property, boolean)';


--
-- Name: COLUMN licenses.planhat__invoices_generated; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__invoices_generated IS 'invoicesGenerated (property, boolean)';


--
-- Name: COLUMN licenses.planhat__is_overdue; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__is_overdue IS 'isOverdue (property, boolean)';


--
-- Name: COLUMN licenses.planhat__issues; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__issues IS 'issues (property, jsonb)';


--
-- Name: COLUMN licenses.planhat__length; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__length IS 'length (property, numeric)';


--
-- Name: COLUMN licenses.planhat__mrr; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__mrr IS 'mrr (property, numeric)';


--
-- Name: COLUMN licenses.planhat__notice_period; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__notice_period IS 'noticePeriod (property, numeric)';


--
-- Name: COLUMN licenses.planhat__notice_unit; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__notice_unit IS 'noticeUnit (property, text)';


--
-- Name: COLUMN licenses.planhat__parent; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__parent IS 'parent (property, text)';


--
-- Name: COLUMN licenses.planhat__product; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__product IS 'product (property, text)';


--
-- Name: COLUMN licenses.planhat__renewal_date; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__renewal_date IS 'renewalDate (property, timestamptz)';


--
-- Name: COLUMN licenses.planhat__renewal_days_from_now; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__renewal_days_from_now IS 'renewalDaysFromNow (property, numeric)';


--
-- Name: COLUMN licenses.planhat__renewal_period; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__renewal_period IS 'renewalPeriod (property, numeric)';


--
-- Name: COLUMN licenses.planhat__renewal_status; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__renewal_status IS 'renewalStatus (property, text)';


--
-- Name: COLUMN licenses.planhat__renewal_unit; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__renewal_unit IS 'renewalUnit (property, text)';


--
-- Name: COLUMN licenses.planhat__status; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__status IS 'status (property, text)';


--
-- Name: COLUMN licenses.planhat__to_date; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__to_date IS 'toDate (property, timestamptz)';


--
-- Name: COLUMN licenses.planhat__to_date_included; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__to_date_included IS 'toDateIncluded (property, boolean)';


--
-- Name: COLUMN licenses.planhat__value; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__value IS 'value (property, numeric)';


--
-- Name: COLUMN licenses.planhat__discount__custom; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__discount__custom IS 'Discount % (custom field, numeric)';


--
-- Name: COLUMN licenses.planhat__po_number__custom; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.licenses.planhat__po_number__custom IS 'PO number (custom field, text)';


--
-- Name: products; Type: TABLE; Schema: planhat; Owner: -
--

CREATE TABLE planhat.products (
    planhat__id text NOT NULL,
    _row_hash bigint NOT NULL,
    _first_seen_at timestamp with time zone DEFAULT now() NOT NULL,
    _synced_at timestamp with time zone DEFAULT now() NOT NULL,
    _deleted_at timestamp with time zone,
    _run_id bigint NOT NULL,
    _misfits jsonb,
    _overflow jsonb,
    planhat__arr numeric,
    planhat__auto_renews boolean,
    planhat__color text,
    planhat__created_at timestamp with time zone,
    planhat__currency text,
    planhat__external_id text,
    planhat__fixed_period boolean,
    planhat__length numeric,
    planhat__mrr numeric,
    planhat__name text,
    planhat__notice_period numeric,
    planhat__notice_unit text,
    planhat__packages jsonb,
    planhat__renewal_period numeric,
    planhat__type text,
    planhat__updated_at timestamp with time zone,
    planhat__value numeric,
    planhat__kostenstelle__custom text
);


--
-- Name: TABLE products; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON TABLE planhat.products IS 'Planhat products, one row per record, kept by planhat-sync. A change is known as Product Updated.';


--
-- Name: COLUMN products.planhat__id; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.products.planhat__id IS '_id (property, text)';


--
-- Name: COLUMN products._row_hash; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.products._row_hash IS 'hash of the record as it came, behind 8 bits that say by which version; one with the same hash is not written again';


--
-- Name: COLUMN products._first_seen_at; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.products._first_seen_at IS 'when the record was first stored';


--
-- Name: COLUMN products._synced_at; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.products._synced_at IS 'when this version was written';


--
-- Name: COLUMN products._deleted_at; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.products._deleted_at IS 'when the record was found gone at Planhat; null while it is there';


--
-- Name: COLUMN products._run_id; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.products._run_id IS 'the run that wrote this version, see planhat_sync.runs';


--
-- Name: COLUMN products._misfits; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.products._misfits IS 'values that do not fit the type of their column, by column name; the column itself is null';


--
-- Name: COLUMN products._overflow; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.products._overflow IS 'values for which the table has no column, or the row no room, under their Planhat names';


--
-- Name: COLUMN products.planhat__arr; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.products.planhat__arr IS 'arr (property, numeric)';


--
-- Name: COLUMN products.planhat__auto_renews; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.products.planhat__auto_renews IS 'autoRenews (property, boolean)';


--
-- Name: COLUMN products.planhat__color; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.products.planhat__color IS 'color (property, text)';


--
-- Name: COLUMN products.planhat__created_at; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.products.planhat__created_at IS 'createdAt (property, timestamptz)';


--
-- Name: COLUMN products.planhat__currency; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.products.planhat__currency IS 'currency (property, text)';


--
-- Name: COLUMN products.planhat__external_id; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.products.planhat__external_id IS 'externalId (property, text)';


--
-- Name: COLUMN products.planhat__fixed_period; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.products.planhat__fixed_period IS 'fixedPeriod (property, boolean)';


--
-- Name: COLUMN products.planhat__length; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.products.planhat__length IS 'length (property, numeric)';


--
-- Name: COLUMN products.planhat__mrr; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.products.planhat__mrr IS 'mrr (property, numeric)';


--
-- Name: COLUMN products.planhat__name; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.products.planhat__name IS 'name (property, text)';


--
-- Name: COLUMN products.planhat__notice_period; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.products.planhat__notice_period IS 'noticePeriod (property, numeric)';


--
-- Name: COLUMN products.planhat__notice_unit; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.products.planhat__notice_unit IS 'noticeUnit (property, text)';


--
-- Name: COLUMN products.planhat__packages; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.products.planhat__packages IS 'packages (property, jsonb)';


--
-- Name: COLUMN products.planhat__renewal_period; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.products.planhat__renewal_period IS 'renewalPeriod (property, numeric)';


--
-- Name: COLUMN products.planhat__type; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.products.planhat__type IS 'type (property, text)';


--
-- Name: COLUMN products.planhat__updated_at; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.products.planhat__updated_at IS 'updatedAt (property, timestamptz)';


--
-- Name: COLUMN products.planhat__value; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.products.planhat__value IS 'value (property, numeric)';


--
-- Name: COLUMN products.planhat__kostenstelle__custom; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.products.planhat__kostenstelle__custom IS 'Kostenstelle (custom field, text)';


--
-- Name: tasks; Type: TABLE; Schema: planhat; Owner: -
--

CREATE TABLE planhat.tasks (
    planhat__id text NOT NULL,
    _row_hash bigint NOT NULL,
    _first_seen_at timestamp with time zone DEFAULT now() NOT NULL,
    _synced_at timestamp with time zone DEFAULT now() NOT NULL,
    _deleted_at timestamp with time zone,
    _run_id bigint NOT NULL,
    _misfits jsonb,
    _overflow jsonb,
    planhat__action text,
    planhat__activity_tags jsonb,
    planhat__checklist jsonb,
    planhat__company_id text,
    planhat__company_name text,
    planhat__created_at timestamp with time zone,
    planhat__end_time timestamp with time zone,
    planhat__endusers jsonb,
    planhat__is_archived boolean,
    planhat__main_type text,
    planhat__no_specific_time boolean,
    planhat__owner_id text,
    planhat__owner_name text,
    planhat__repeat text,
    planhat__repeat_days numeric,
    planhat__start_time timestamp with time zone,
    planhat__status text,
    planhat__type text,
    planhat__updated_at timestamp with time zone,
    planhat__workflow_name jsonb,
    planhat__effort__custom numeric,
    planhat__v numeric,
    planhat__date_done timestamp with time zone,
    planhat__description text,
    planhat__done_by jsonb,
    planhat__note_id jsonb,
    planhat__overdue_notified boolean,
    planhat__owner_type text,
    planhat__shared boolean,
    planhat__snippet text,
    planhat__users jsonb
);


--
-- Name: TABLE tasks; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON TABLE planhat.tasks IS 'Planhat tasks, one row per record, kept by planhat-sync. A change is known as Task Updated.';


--
-- Name: COLUMN tasks.planhat__id; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks.planhat__id IS '_id (property, text)';


--
-- Name: COLUMN tasks._row_hash; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks._row_hash IS 'hash of the record as it came, behind 8 bits that say by which version; one with the same hash is not written again';


--
-- Name: COLUMN tasks._first_seen_at; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks._first_seen_at IS 'when the record was first stored';


--
-- Name: COLUMN tasks._synced_at; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks._synced_at IS 'when this version was written';


--
-- Name: COLUMN tasks._deleted_at; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks._deleted_at IS 'when the record was found gone at Planhat; null while it is there';


--
-- Name: COLUMN tasks._run_id; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks._run_id IS 'the run that wrote this version, see planhat_sync.runs';


--
-- Name: COLUMN tasks._misfits; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks._misfits IS 'values that do not fit the type of their column, by column name; the column itself is null';


--
-- Name: COLUMN tasks._overflow; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks._overflow IS 'values for which the table has no column, or the row no room, under their Planhat names';


--
-- Name: COLUMN tasks.planhat__action; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks.planhat__action IS 'action (property, text)';


--
-- Name: COLUMN tasks.planhat__activity_tags; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks.planhat__activity_tags IS 'activityTags (property, jsonb)';


--
-- Name: COLUMN tasks.planhat__checklist; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks.planhat__checklist IS 'checklist (property, jsonb)';


--
-- Name: COLUMN tasks.planhat__company_id; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks.planhat__company_id IS 'companyId (property, text)';


--
-- Name: COLUMN tasks.planhat__company_name; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks.planhat__company_name IS 'companyName (property, text)';


--
-- Name: COLUMN tasks.planhat__created_at; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks.planhat__created_at IS 'createdAt (property, timestamptz)';


--
-- Name: COLUMN tasks.planhat__end_time; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks.planhat__end_time IS 'endTime (property, timestamptz)';


--
-- Name: COLUMN tasks.planhat__endusers; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks.planhat__endusers IS 'endusers (property, jsonb)';


--
-- Name: COLUMN tasks.planhat__is_archived; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks.planhat__is_archived IS 'isArchived (property, boolean)';


--
-- Name: COLUMN tasks.planhat__main_type; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks.planhat__main_type IS 'mainType (property, text)';


--
-- Name: COLUMN tasks.planhat__no_specific_time; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks.planhat__no_specific_time IS 'noSpecificTime (property, boolean)';


--
-- Name: COLUMN tasks.planhat__owner_id; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks.planhat__owner_id IS 'ownerId (property, text)';


--
-- Name: COLUMN tasks.planhat__owner_name; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks.planhat__owner_name IS 'ownerName (property, text)';


--
-- Name: COLUMN tasks.planhat__repeat; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks.planhat__repeat IS 'repeat (property, text)';


--
-- Name: COLUMN tasks.planhat__repeat_days; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks.planhat__repeat_days IS 'repeatDays (property, numeric)';


--
-- Name: COLUMN tasks.planhat__start_time; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks.planhat__start_time IS 'startTime (property, timestamptz)';


--
-- Name: COLUMN tasks.planhat__status; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks.planhat__status IS 'status (property, text)';


--
-- Name: COLUMN tasks.planhat__type; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks.planhat__type IS 'type (property, text)';


--
-- Name: COLUMN tasks.planhat__updated_at; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks.planhat__updated_at IS 'updatedAt (property, timestamptz)';


--
-- Name: COLUMN tasks.planhat__workflow_name; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks.planhat__workflow_name IS 'workflowName (property, jsonb)';


--
-- Name: COLUMN tasks.planhat__effort__custom; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks.planhat__effort__custom IS 'Effort (custom field, numeric)';


--
-- Name: COLUMN tasks.planhat__v; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks.planhat__v IS '__v (property, numeric)';


--
-- Name: COLUMN tasks.planhat__date_done; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks.planhat__date_done IS 'dateDone (property, timestamptz)';


--
-- Name: COLUMN tasks.planhat__description; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks.planhat__description IS 'description (property, text)';


--
-- Name: COLUMN tasks.planhat__done_by; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks.planhat__done_by IS 'doneBy (property, jsonb)';


--
-- Name: COLUMN tasks.planhat__note_id; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks.planhat__note_id IS 'noteId (property, jsonb)';


--
-- Name: COLUMN tasks.planhat__overdue_notified; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks.planhat__overdue_notified IS 'overdueNotified (property, boolean)';


--
-- Name: COLUMN tasks.planhat__owner_type; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks.planhat__owner_type IS 'ownerType (property, text)';


--
-- Name: COLUMN tasks.planhat__shared; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks.planhat__shared IS 'shared (property, boolean)';


--
-- Name: COLUMN tasks.planhat__snippet; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks.planhat__snippet IS 'snippet (property, text)';


--
-- Name: COLUMN tasks.planhat__users; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON COLUMN planhat.tasks.planhat__users IS 'users (property, jsonb)';


--
-- Name: timeline; Type: VIEW; Schema: planhat; Owner: -
--

CREATE VIEW planhat.timeline AS
 SELECT action.happened_at,
    action.seen_at,
    action.action,
    action.kind,
    (to_jsonb(company.*) ->> 'planhat__name'::text) AS company,
    COALESCE(NULLIF((to_jsonb(end_user.*) ->> 'planhat__name'::text), ''::text), (to_jsonb(end_user.*) ->> 'planhat__email'::text)) AS end_user,
    ( SELECT (string_agg(line.line, ', '::text ORDER BY line.rank) FILTER (WHERE (line.rank <= 12)) ||
                CASE
                    WHEN (max(line.rank) > 12) THEN ((', and '::text || (max(line.rank) - 12)) || ' more'::text)
                    ELSE ''::text
                END)
           FROM ( SELECT ((((change.name || ': '::text) ||
                        CASE
                            WHEN (length(change.old) > 60) THEN ("left"(change.old, 59) || '…'::text)
                            ELSE change.old
                        END) || ' → '::text) ||
                        CASE
                            WHEN (length(change.new) > 60) THEN ("left"(change.new, 59) || '…'::text)
                            ELSE change.new
                        END) AS line,
                    row_number() OVER (ORDER BY (change.name = ANY (ARRAY['updated_at'::text, 'last_updated'::text, 'update_date'::text, 'v'::text])), change.name) AS rank
                   FROM ( SELECT regexp_replace(jsonb_each.key, '^planhat__|__custom$'::text, ''::text, 'g'::text) AS name,
                            COALESCE((jsonb_each.value ->> 'old'::text), '–'::text) AS old,
                            COALESCE((jsonb_each.value ->> 'new'::text), '–'::text) AS new
                           FROM jsonb_each(action.changes) jsonb_each(key, value)) change) line) AS changed,
    action.object,
    action.record_id,
    action.company_id,
    action.end_user_id,
    action.id,
    action.run_id,
    action.changes,
        CASE action.object
            WHEN 'companies'::text THEN ( SELECT (to_jsonb(record.*) - '{_row_hash,_first_seen_at,_synced_at,_run_id}'::text[])
               FROM planhat.companies record
              WHERE (record.planhat__id = action.record_id))
            WHEN 'conversations'::text THEN ( SELECT (to_jsonb(record.*) - '{_row_hash,_first_seen_at,_synced_at,_run_id}'::text[])
               FROM planhat.conversations record
              WHERE (record.planhat__id = action.record_id))
            WHEN 'endusers'::text THEN ( SELECT (to_jsonb(record.*) - '{_row_hash,_first_seen_at,_synced_at,_run_id}'::text[])
               FROM planhat.endusers record
              WHERE (record.planhat__id = action.record_id))
            WHEN 'licenses'::text THEN ( SELECT (to_jsonb(record.*) - '{_row_hash,_first_seen_at,_synced_at,_run_id}'::text[])
               FROM planhat.licenses record
              WHERE (record.planhat__id = action.record_id))
            WHEN 'products'::text THEN ( SELECT (to_jsonb(record.*) - '{_row_hash,_first_seen_at,_synced_at,_run_id}'::text[])
               FROM planhat.products record
              WHERE (record.planhat__id = action.record_id))
            WHEN 'tasks'::text THEN ( SELECT (to_jsonb(record.*) - '{_row_hash,_first_seen_at,_synced_at,_run_id}'::text[])
               FROM planhat.tasks record
              WHERE (record.planhat__id = action.record_id))
            ELSE NULL::jsonb
        END AS record
   FROM ((planhat.actions action
     LEFT JOIN planhat.companies company ON ((company.planhat__id = action.company_id)))
     LEFT JOIN planhat.endusers end_user ON ((end_user.planhat__id = action.end_user_id)));


--
-- Name: VIEW timeline; Type: COMMENT; Schema: planhat; Owner: -
--

COMMENT ON VIEW planhat.timeline IS 'What happened, for people, kept by planhat-sync: each action with the names of company and end user, what changed in words, and the record as it is now. Definition 322396e94c89d523.';


--
-- Name: announced_states; Type: TABLE; Schema: planhat_sync; Owner: -
--

CREATE TABLE planhat_sync.announced_states (
    workspace text NOT NULL,
    state jsonb DEFAULT '{}'::jsonb NOT NULL,
    announced_at timestamp with time zone DEFAULT now() NOT NULL
);


--
-- Name: TABLE announced_states; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON TABLE planhat_sync.announced_states IS 'The state of each workspace that was last sent to the webhook, so that a state is sent once.';


--
-- Name: COLUMN announced_states.workspace; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.announced_states.workspace IS 'the data schema';


--
-- Name: COLUMN announced_states.state; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.announced_states.state IS 'failed: what keeps whole runs from succeeding; objects: objects that did not succeed, with the kind of the reason; stale: objects whose data is too old; empty when everything succeeded';


--
-- Name: COLUMN announced_states.announced_at; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.announced_states.announced_at IS 'when the state was last changed';


--
-- Name: columns; Type: TABLE; Schema: planhat_sync; Owner: -
--

CREATE TABLE planhat_sync.columns (
    workspace text NOT NULL,
    object text NOT NULL,
    column_name text NOT NULL,
    "position" integer NOT NULL,
    origin text NOT NULL,
    planhat_name text NOT NULL,
    type text NOT NULL,
    added_at timestamp with time zone DEFAULT now() NOT NULL,
    misfits_since timestamp with time zone,
    misfits_type text,
    CONSTRAINT columns_misfits_type_check CHECK ((misfits_type = ANY (ARRAY['text'::text, 'jsonb'::text]))),
    CONSTRAINT columns_origin_check CHECK ((origin = ANY (ARRAY['property'::text, 'custom'::text])))
);


--
-- Name: TABLE columns; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON TABLE planhat_sync.columns IS 'Which Planhat property or custom field is behind a column. Rows are only added; retype changes the type.';


--
-- Name: COLUMN columns.workspace; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.columns.workspace IS 'the data schema';


--
-- Name: COLUMN columns.object; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.columns.object IS 'the object';


--
-- Name: COLUMN columns.column_name; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.columns.column_name IS 'the column in the object''s table';


--
-- Name: COLUMN columns."position"; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.columns."position" IS 'the order in which the columns were created';


--
-- Name: COLUMN columns.origin; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.columns.origin IS 'property, or custom for a custom field';


--
-- Name: COLUMN columns.planhat_name; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.columns.planhat_name IS 'the name at Planhat';


--
-- Name: COLUMN columns.type; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.columns.type IS 'the PostgreSQL type of the column';


--
-- Name: COLUMN columns.added_at; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.columns.added_at IS 'when the column was created';


--
-- Name: COLUMN columns.misfits_since; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.columns.misfits_since IS 'when values that do not fit the type were first found (type mismatches, kept in _misfits); null if there are none';


--
-- Name: COLUMN columns.misfits_type; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.columns.misfits_type IS 'the type that would hold all values of the column; `planhat-sync retype` changes to it';


--
-- Name: consumers; Type: TABLE; Schema: planhat_sync; Owner: -
--

CREATE TABLE planhat_sync.consumers (
    workspace text NOT NULL,
    name text NOT NULL,
    last_action_id bigint NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL
);


--
-- Name: TABLE consumers; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON TABLE planhat_sync.consumers IS 'Readers of the timeline and their positions: `planhat-sync actions --follow --consumer NAME`.';


--
-- Name: COLUMN consumers.workspace; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.consumers.workspace IS 'the data schema';


--
-- Name: COLUMN consumers.name; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.consumers.name IS 'the name of the consumer';


--
-- Name: COLUMN consumers.last_action_id; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.consumers.last_action_id IS 'the id of the last action given to the consumer, see actions.id; lower it to get actions again';


--
-- Name: COLUMN consumers.updated_at; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.consumers.updated_at IS 'when the position last changed';


--
-- Name: cursors; Type: TABLE; Schema: planhat_sync; Owner: -
--

CREATE TABLE planhat_sync.cursors (
    workspace text NOT NULL,
    object text NOT NULL,
    watermark timestamp with time zone NOT NULL,
    reconciled_at timestamp with time zone,
    updated_at timestamp with time zone DEFAULT now() NOT NULL
);


--
-- Name: TABLE cursors; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON TABLE planhat_sync.cursors IS 'One row per object: how far the object is completely stored.';


--
-- Name: COLUMN cursors.workspace; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.cursors.workspace IS 'the data schema';


--
-- Name: COLUMN cursors.object; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.cursors.object IS 'the object';


--
-- Name: COLUMN cursors.watermark; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.cursors.watermark IS 'every change before this instant is stored; moves only when a scan is complete, and never back';


--
-- Name: COLUMN cursors.reconciled_at; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.cursors.reconciled_at IS 'when the last full scan of the object began, or its first load';


--
-- Name: COLUMN cursors.updated_at; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.cursors.updated_at IS 'when this row was last changed';


--
-- Name: daemons; Type: TABLE; Schema: planhat_sync; Owner: -
--

CREATE TABLE planhat_sync.daemons (
    workspace text NOT NULL,
    holder text NOT NULL,
    process text NOT NULL,
    instance text NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    renewed_at timestamp with time zone DEFAULT now() NOT NULL
);


--
-- Name: TABLE daemons; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON TABLE planhat_sync.daemons IS 'The lease of the daemon of a workspace; a second daemon does not start while it is held.';


--
-- Name: COLUMN daemons.workspace; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.daemons.workspace IS 'the data schema';


--
-- Name: COLUMN daemons.holder; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.daemons.holder IS 'the daemon process, for people: process id and host';


--
-- Name: COLUMN daemons.process; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.daemons.process IS 'identifies the process on its machine, see leases.process';


--
-- Name: COLUMN daemons.instance; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.daemons.instance IS 'a random id of the process, by which it recognises its own lease';


--
-- Name: COLUMN daemons.started_at; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.daemons.started_at IS 'when the daemon acquired the lease';


--
-- Name: COLUMN daemons.renewed_at; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.daemons.renewed_at IS 'when the daemon last renewed the lease: every few seconds during a run, never while it is idle';


--
-- Name: leases; Type: TABLE; Schema: planhat_sync; Owner: -
--

CREATE TABLE planhat_sync.leases (
    workspace text NOT NULL,
    run_id bigint NOT NULL,
    holder text NOT NULL,
    process text NOT NULL,
    acquired_at timestamp with time zone DEFAULT now() NOT NULL,
    renewed_at timestamp with time zone DEFAULT now() NOT NULL,
    requested_at timestamp with time zone
);


--
-- Name: TABLE leases; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON TABLE planhat_sync.leases IS 'The lease of a workspace: the run that may write to it. Another run takes the lease over when it has not been renewed for 90 seconds.';


--
-- Name: COLUMN leases.workspace; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.leases.workspace IS 'the data schema';


--
-- Name: COLUMN leases.run_id; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.leases.run_id IS 'the run that holds the lease';


--
-- Name: COLUMN leases.holder; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.leases.holder IS 'the process of the run, for people: process id and host';


--
-- Name: COLUMN leases.process; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.leases.process IS 'identifies the process on its machine (boot id, pid namespace, pid, start time), so that another run there can see whether it has exited; empty if unknown';


--
-- Name: COLUMN leases.acquired_at; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.leases.acquired_at IS 'when the run acquired the lease';


--
-- Name: COLUMN leases.renewed_at; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.leases.renewed_at IS 'when the run last renewed the lease';


--
-- Name: COLUMN leases.requested_at; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.leases.requested_at IS 'when another run requested the lease from a backfill; null if none did';


--
-- Name: listed_ids; Type: TABLE; Schema: planhat_sync; Owner: -
--

CREATE TABLE planhat_sync.listed_ids (
    id bigint NOT NULL,
    workspace text NOT NULL,
    object text NOT NULL,
    ids text[] NOT NULL
);


--
-- Name: TABLE listed_ids; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON TABLE planhat_sync.listed_ids IS 'The ids that an unfinished full scan has listed, one row per page; a row of the data table whose id is not here is requested by id.';


--
-- Name: COLUMN listed_ids.workspace; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.listed_ids.workspace IS 'the data schema';


--
-- Name: COLUMN listed_ids.object; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.listed_ids.object IS 'the object';


--
-- Name: COLUMN listed_ids.ids; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.listed_ids.ids IS 'the ids of one page';


--
-- Name: listed_ids_id_seq; Type: SEQUENCE; Schema: planhat_sync; Owner: -
--

ALTER TABLE planhat_sync.listed_ids ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME planhat_sync.listed_ids_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: migrations; Type: TABLE; Schema: planhat_sync; Owner: -
--

CREATE TABLE planhat_sync.migrations (
    version bigint NOT NULL,
    description text NOT NULL,
    installed_on timestamp with time zone DEFAULT now() NOT NULL,
    success boolean NOT NULL,
    checksum bytea NOT NULL,
    execution_time bigint NOT NULL
);


--
-- Name: notifications; Type: TABLE; Schema: planhat_sync; Owner: -
--

CREATE TABLE planhat_sync.notifications (
    id bigint NOT NULL,
    workspace text NOT NULL,
    event_id text NOT NULL,
    type text NOT NULL,
    body text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    next_attempt_at timestamp with time zone DEFAULT now(),
    not_before timestamp with time zone,
    claimed_until timestamp with time zone,
    delivered_at timestamp with time zone,
    last_error text
);


--
-- Name: TABLE notifications; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON TABLE planhat_sync.notifications IS 'Messages to notify.webhook_url, delivered in order and deleted after 30 days.';


--
-- Name: COLUMN notifications.id; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.notifications.id IS 'the order of delivery';


--
-- Name: COLUMN notifications.workspace; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.notifications.workspace IS 'the data schema';


--
-- Name: COLUMN notifications.event_id; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.notifications.event_id IS 'the header webhook-id of every attempt, by which a receiver recognises a repeated message';


--
-- Name: COLUMN notifications.type; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.notifications.type IS 'the event type, as sync.failed';


--
-- Name: COLUMN notifications.body; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.notifications.body IS 'the message body, exactly as it is signed';


--
-- Name: COLUMN notifications.created_at; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.notifications.created_at IS 'when the message was queued';


--
-- Name: COLUMN notifications.attempts; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.notifications.attempts IS 'delivery attempts so far';


--
-- Name: COLUMN notifications.next_attempt_at; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.notifications.next_attempt_at IS 'when the next attempt is due; null when the message was delivered or given up';


--
-- Name: COLUMN notifications.not_before; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.notifications.not_before IS 'no attempt before this time, because the receiver sent Retry-After';


--
-- Name: COLUMN notifications.claimed_until; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.notifications.claimed_until IS 'a process is sending the message; no other process sends it before this time';


--
-- Name: COLUMN notifications.delivered_at; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.notifications.delivered_at IS 'when the message was delivered';


--
-- Name: COLUMN notifications.last_error; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.notifications.last_error IS 'why the last attempt failed, without any URL';


--
-- Name: notifications_id_seq; Type: SEQUENCE; Schema: planhat_sync; Owner: -
--

ALTER TABLE planhat_sync.notifications ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME planhat_sync.notifications_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: object_runs; Type: TABLE; Schema: planhat_sync; Owner: -
--

CREATE TABLE planhat_sync.object_runs (
    run_id bigint NOT NULL,
    object text NOT NULL,
    scan text,
    status text NOT NULL,
    reason text,
    hint text,
    started_at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone NOT NULL,
    fetched bigint NOT NULL,
    listed_again bigint DEFAULT 0 NOT NULL,
    inserted bigint NOT NULL,
    updated bigint NOT NULL,
    restored bigint DEFAULT 0 NOT NULL,
    deleted bigint DEFAULT 0 NOT NULL,
    unchanged bigint NOT NULL,
    outside_history bigint NOT NULL,
    misfits bigint NOT NULL,
    overflowed bigint NOT NULL,
    sanitized bigint NOT NULL,
    quarantined bigint NOT NULL,
    pages bigint NOT NULL,
    calls bigint NOT NULL,
    watermark timestamp with time zone,
    oldest timestamp with time zone,
    CONSTRAINT object_runs_scan_check CHECK ((scan = ANY (ARRAY['history'::text, 'backfill'::text, 'incremental'::text, 'full'::text]))),
    CONSTRAINT object_runs_status_check CHECK ((status = ANY (ARRAY['succeeded'::text, 'partial'::text, 'skipped'::text, 'failed'::text, 'interrupted'::text])))
);


--
-- Name: TABLE object_runs; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON TABLE planhat_sync.object_runs IS 'One row per object and run: what the run did with the object.';


--
-- Name: COLUMN object_runs.run_id; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.object_runs.run_id IS 'the run, see runs.id';


--
-- Name: COLUMN object_runs.object; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.object_runs.object IS 'the object, which is also the name of its table';


--
-- Name: COLUMN object_runs.scan; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.object_runs.scan IS 'history: a first load, or a backfill that goes back as far; backfill: a backfill of another part of history; incremental: changes since the watermark; full: every record compared and deletions detected; null if the run ended before this was known';


--
-- Name: COLUMN object_runs.status; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.object_runs.status IS 'succeeded; partial: records were quarantined; skipped: the token may not read the object and never could; failed (also when the token could read it before); interrupted';


--
-- Name: COLUMN object_runs.reason; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.object_runs.reason IS 'why the object was skipped, failed or is partial, or a warning';


--
-- Name: COLUMN object_runs.hint; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.object_runs.hint IS 'what to do about it';


--
-- Name: COLUMN object_runs.started_at; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.object_runs.started_at IS 'when the run began with the object';


--
-- Name: COLUMN object_runs.finished_at; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.object_runs.finished_at IS 'when the run ended with the object';


--
-- Name: COLUMN object_runs.fetched; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.object_runs.fetched IS 'records received, each counted once: inserted + updated + restored + unchanged + outside_history + quarantined';


--
-- Name: COLUMN object_runs.listed_again; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.object_runs.listed_again IS 'records received once more from another listing of the same object, without changes';


--
-- Name: COLUMN object_runs.inserted; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.object_runs.inserted IS 'rows inserted';


--
-- Name: COLUMN object_runs.updated; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.object_runs.updated IS 'rows updated';


--
-- Name: COLUMN object_runs.restored; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.object_runs.restored IS 'rows that had been marked as deleted and whose records were listed again';


--
-- Name: COLUMN object_runs.deleted; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.object_runs.deleted IS 'rows marked as deleted: Planhat answered 404 to a request by id';


--
-- Name: COLUMN object_runs.unchanged; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.object_runs.unchanged IS 'records equal to their stored rows: compared, or unchanged according to their own times';


--
-- Name: COLUMN object_runs.outside_history; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.object_runs.outside_history IS 'records older than sync.history, or outside the range of a backfill; not stored';


--
-- Name: COLUMN object_runs.misfits; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.object_runs.misfits IS 'type mismatches: values that did not fit the type of their column, kept in _misfits';


--
-- Name: COLUMN object_runs.overflowed; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.object_runs.overflowed IS 'rows with values that have no column, kept in _overflow';


--
-- Name: COLUMN object_runs.sanitized; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.object_runs.sanitized IS 'values from which a NUL character was removed, or in which half a surrogate pair was replaced';


--
-- Name: COLUMN object_runs.quarantined; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.object_runs.quarantined IS 'records that could not be stored, kept in planhat_sync.quarantine';


--
-- Name: COLUMN object_runs.pages; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.object_runs.pages IS 'pages received';


--
-- Name: COLUMN object_runs.calls; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.object_runs.calls IS 'requests to Planhat, including retries';


--
-- Name: COLUMN object_runs.watermark; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.object_runs.watermark IS 'the watermark after the run, see cursors.watermark';


--
-- Name: COLUMN object_runs.oldest; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.object_runs.oldest IS 'the time of the oldest record that was stored';


--
-- Name: object_states; Type: TABLE; Schema: planhat_sync; Owner: -
--

CREATE TABLE planhat_sync.object_states (
    workspace text NOT NULL,
    object text NOT NULL,
    run_id bigint NOT NULL,
    status text NOT NULL,
    reason text,
    hint text,
    finished_at timestamp with time zone NOT NULL,
    last_success_at timestamp with time zone,
    last_success_run_id bigint,
    last_readable_at timestamp with time zone,
    CONSTRAINT object_states_status_check CHECK ((status = ANY (ARRAY['succeeded'::text, 'partial'::text, 'skipped'::text, 'failed'::text, 'interrupted'::text])))
);


--
-- Name: TABLE object_states; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON TABLE planhat_sync.object_states IS 'One row per object: the result of its latest run, and when it was last synced. Read this table for freshness.';


--
-- Name: COLUMN object_states.workspace; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.object_states.workspace IS 'the data schema';


--
-- Name: COLUMN object_states.object; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.object_states.object IS 'the object';


--
-- Name: COLUMN object_states.run_id; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.object_states.run_id IS 'the latest run of the object; its figures are in object_runs';


--
-- Name: COLUMN object_states.status; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.object_states.status IS 'the status of the latest run, see object_runs.status';


--
-- Name: COLUMN object_states.reason; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.object_states.reason IS 'the reason of the latest run';


--
-- Name: COLUMN object_states.hint; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.object_states.hint IS 'the hint of the latest run';


--
-- Name: COLUMN object_states.finished_at; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.object_states.finished_at IS 'when the latest run ended with the object';


--
-- Name: COLUMN object_states.last_success_at; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.object_states.last_success_at IS 'when the object was last synced completely (succeeded, or partial because of quarantined records only), by any command; null if never';


--
-- Name: COLUMN object_states.last_success_run_id; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.object_states.last_success_run_id IS 'the run of last_success_at';


--
-- Name: COLUMN object_states.last_readable_at; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.object_states.last_readable_at IS 'when Planhat last allowed the token to read the object; null if never';


--
-- Name: quarantine; Type: TABLE; Schema: planhat_sync; Owner: -
--

CREATE TABLE planhat_sync.quarantine (
    id bigint NOT NULL,
    workspace text NOT NULL,
    object text NOT NULL,
    run_id bigint,
    record_id text,
    reason text NOT NULL,
    sqlstate text,
    raw text NOT NULL,
    raw_hash bigint NOT NULL,
    first_seen_at timestamp with time zone DEFAULT now() NOT NULL,
    identity bigint GENERATED ALWAYS AS (COALESCE(hashtextextended(record_id, (0)::bigint), raw_hash)) STORED NOT NULL
);


--
-- Name: TABLE quarantine; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON TABLE planhat_sync.quarantine IS 'Records that cannot be stored, as Planhat sent them. An entry is deleted when its record is stored or no longer listed.';


--
-- Name: COLUMN quarantine.id; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.quarantine.id IS 'the entry id, as `planhat-sync quarantine show` and `drop` take it';


--
-- Name: COLUMN quarantine.workspace; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.quarantine.workspace IS 'the data schema';


--
-- Name: COLUMN quarantine.object; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.quarantine.object IS 'the object';


--
-- Name: COLUMN quarantine.run_id; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.quarantine.run_id IS 'the run that received the record last; null if that run was deleted from the history';


--
-- Name: COLUMN quarantine.record_id; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.quarantine.record_id IS 'the id of the record; null if it has none';


--
-- Name: COLUMN quarantine.reason; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.quarantine.reason IS 'why the record cannot be stored';


--
-- Name: COLUMN quarantine.sqlstate; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.quarantine.sqlstate IS 'the code with which PostgreSQL refused the record, if it did';


--
-- Name: COLUMN quarantine.raw; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.quarantine.raw IS 'the JSON text of the record (text, because jsonb may be what refuses it). If it begins with a round bracket it is not complete and says why: larger than a page, cut, or beyond sync.quarantine_rows';


--
-- Name: COLUMN quarantine.raw_hash; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.quarantine.raw_hash IS 'a hash of the text, under a key if the object has privacy rules';


--
-- Name: COLUMN quarantine.first_seen_at; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.quarantine.first_seen_at IS 'when the record was put in quarantine';


--
-- Name: COLUMN quarantine.identity; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.quarantine.identity IS 'identifies the record: a hash of its id, or raw_hash if it has none';


--
-- Name: quarantine_id_seq; Type: SEQUENCE; Schema: planhat_sync; Owner: -
--

ALTER TABLE planhat_sync.quarantine ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME planhat_sync.quarantine_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: runs; Type: TABLE; Schema: planhat_sync; Owner: -
--

CREATE TABLE planhat_sync.runs (
    id bigint NOT NULL,
    workspace text NOT NULL,
    command text NOT NULL,
    status text NOT NULL,
    version text NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    finished_at timestamp with time zone,
    reason text,
    hint text,
    calls bigint,
    CONSTRAINT runs_status_check CHECK ((status = ANY (ARRAY['running'::text, 'succeeded'::text, 'partial'::text, 'failed'::text, 'interrupted'::text])))
);


--
-- Name: TABLE runs; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON TABLE planhat_sync.runs IS 'One row per run of sync, backfill, the daemon, retype, adopt or quarantine retry.';


--
-- Name: COLUMN runs.id; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.runs.id IS 'the run id, as `planhat-sync runs` lists it';


--
-- Name: COLUMN runs.workspace; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.runs.workspace IS 'the data schema (database.schema)';


--
-- Name: COLUMN runs.command; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.runs.command IS 'the command that started the run; "daemon (retry)" tries failed objects again';


--
-- Name: COLUMN runs.status; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.runs.status IS 'running; succeeded; partial: an object failed or a record was quarantined; failed; interrupted: stopped by a signal or killed, everything committed is kept';


--
-- Name: COLUMN runs.version; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.runs.version IS 'the version of planhat-sync';


--
-- Name: COLUMN runs.started_at; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.runs.started_at IS 'when the run began';


--
-- Name: COLUMN runs.finished_at; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.runs.finished_at IS 'when the run ended; null while it is running';


--
-- Name: COLUMN runs.reason; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.runs.reason IS 'why the run did not succeed; null if it succeeded';


--
-- Name: COLUMN runs.hint; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.runs.hint IS 'what to do about it';


--
-- Name: COLUMN runs.calls; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.runs.calls IS 'requests to Planhat, including those for the declarations of custom fields; null if the run did not end normally or made none';


--
-- Name: runs_id_seq; Type: SEQUENCE; Schema: planhat_sync; Owner: -
--

ALTER TABLE planhat_sync.runs ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME planhat_sync.runs_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: scans; Type: TABLE; Schema: planhat_sync; Owner: -
--

CREATE TABLE planhat_sync.scans (
    workspace text NOT NULL,
    object text NOT NULL,
    scan text NOT NULL,
    started_at timestamp with time zone NOT NULL,
    since timestamp with time zone,
    until timestamp with time zone,
    listing text NOT NULL,
    "offset" bigint NOT NULL,
    overlap_id text,
    newest_change_at timestamp with time zone,
    rules_fingerprint bigint,
    checkpoint_number bigint DEFAULT 0 NOT NULL,
    CONSTRAINT scans_scan_check CHECK ((scan = ANY (ARRAY['history'::text, 'backfill'::text, 'incremental'::text, 'full'::text])))
);


--
-- Name: TABLE scans; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON TABLE planhat_sync.scans IS 'Unfinished scans with their checkpoints; the next run resumes from here. The row is deleted when its scan is complete.';


--
-- Name: COLUMN scans.workspace; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.scans.workspace IS 'the data schema';


--
-- Name: COLUMN scans.object; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.scans.object IS 'the object';


--
-- Name: COLUMN scans.scan; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.scans.scan IS 'history, backfill, incremental or full, see object_runs.scan';


--
-- Name: COLUMN scans.started_at; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.scans.started_at IS 'when the scan began; changes after this instant are left to the next scan';


--
-- Name: COLUMN scans.since; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.scans.since IS 'records older than this are left out; null for no limit';


--
-- Name: COLUMN scans.until; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.scans.until IS 'records of this time and later are left out; null for no limit';


--
-- Name: COLUMN scans.listing; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.scans.listing IS 'the listing that is being read, by its sort order; "deletions" while records that were not listed are requested by id';


--
-- Name: COLUMN scans."offset"; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.scans."offset" IS 'the offset of the next page in that listing';


--
-- Name: COLUMN scans.overlap_id; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.scans.overlap_id IS 'the overlap record: the id of the record that the next page must contain, so that no record is missed between two pages';


--
-- Name: COLUMN scans.newest_change_at; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.scans.newest_change_at IS 'the latest modification time seen so far';


--
-- Name: COLUMN scans.rules_fingerprint; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.scans.rules_fingerprint IS 'a fingerprint of the privacy rules when the scan began; null if there were none';


--
-- Name: COLUMN scans.checkpoint_number; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.scans.checkpoint_number IS 'counts the commits of this scan''s position; each commit must follow the one before';


--
-- Name: workspaces; Type: TABLE; Schema: planhat_sync; Owner: -
--

CREATE TABLE planhat_sync.workspaces (
    workspace text NOT NULL,
    key uuid NOT NULL,
    fingerprint text NOT NULL,
    host text NOT NULL,
    bound_at timestamp with time zone DEFAULT now() NOT NULL,
    proven_by text NOT NULL,
    CONSTRAINT workspaces_proven_by_check CHECK ((proven_by = ANY (ARRAY['first sync'::text, 'stored records'::text, 'adopt'::text])))
);


--
-- Name: TABLE workspaces; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON TABLE planhat_sync.workspaces IS 'Which token and host a schema is bound to. With another token or host, stored records are requested by id before a run writes anything.';


--
-- Name: COLUMN workspaces.workspace; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.workspaces.workspace IS 'the data schema (database.schema)';


--
-- Name: COLUMN workspaces.key; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.workspaces.key IS 'the random key of the fingerprint';


--
-- Name: COLUMN workspaces.fingerprint; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.workspaces.fingerprint IS 'HMAC-SHA256 of the token under the key, in hexadecimal; the token cannot be recovered from it';


--
-- Name: COLUMN workspaces.host; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.workspaces.host IS 'scheme, host and port of planhat.base_url';


--
-- Name: COLUMN workspaces.bound_at; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.workspaces.bound_at IS 'when the schema was bound to this token and host';


--
-- Name: COLUMN workspaces.proven_by; Type: COMMENT; Schema: planhat_sync; Owner: -
--

COMMENT ON COLUMN planhat_sync.workspaces.proven_by IS 'first sync: the schema was empty; stored records: Planhat has most of the stored records that were requested by id; adopt: a person ran `planhat-sync adopt`';


--
-- Data for Name: actions; Type: TABLE DATA; Schema: planhat; Owner: -
--

INSERT INTO planhat.actions OVERRIDING SYSTEM VALUE VALUES
	(1, 'Company Updated', 'created', 'companies', '675805e0b3a10000000000c1', '675805e0b3a10000000000c1', NULL, '2024-12-10 09:12:00.12+00', '2026-11-26 20:57:45.736462+00', 1, NULL),
	(2, 'Company Updated', 'created', 'companies', '677fac30b3a10000000000c7', '677fac30b3a10000000000c7', NULL, '2025-01-09 11:00:00+00', '2026-11-26 20:57:45.736462+00', 1, NULL),
	(3, 'Company Updated', 'created', 'companies', '678e1ea0b3a10000000000c2', '678e1ea0b3a10000000000c2', NULL, '2025-01-20 10:00:00+00', '2026-11-26 20:57:45.736462+00', 1, NULL),
	(4, 'Company Updated', 'created', 'companies', '67af61a5b3a10000000000c3', '67af61a5b3a10000000000c3', NULL, '2025-02-14 15:30:45.5+00', '2026-11-26 20:57:45.736462+00', 1, NULL),
	(5, 'Company Updated', 'created', 'companies', '67eb80e0b3a10000000000c4', '67eb80e0b3a10000000000c4', NULL, '2025-04-01 06:00:00+00', '2026-11-26 20:57:45.736462+00', 1, NULL),
	(6, 'Company Updated', 'created', 'companies', '682f287cb3a10000000000c5', '682f287cb3a10000000000c5', NULL, '2025-05-22 13:37:00+00', '2026-11-26 20:57:45.736462+00', 1, NULL),
	(7, 'Company Updated', 'created', 'companies', '6a992c84b3a10000000000c6', '6a992c84b3a10000000000c6', NULL, '2026-09-03 08:15:00+00', '2026-11-26 20:57:45.736462+00', 1, NULL),
	(8, 'Contact Updated', 'created', 'endusers', '675962a0b3a10000000000e1', '675805e0b3a10000000000c1', '675962a0b3a10000000000e1', '2024-12-11 10:00:00+00', '2026-11-26 20:57:45.742939+00', 1, NULL),
	(9, 'Contact Updated', 'created', 'endusers', '675ab420b3a10000000000e2', '675805e0b3a10000000000c1', '675ab420b3a10000000000e2', '2024-12-12 10:00:00+00', '2026-11-26 20:57:45.742939+00', 1, NULL),
	(10, 'Contact Updated', 'created', 'endusers', '678f6210b3a10000000000e3', '678e1ea0b3a10000000000c2', '678f6210b3a10000000000e3', '2025-01-21 09:00:00+00', '2026-11-26 20:57:45.742939+00', 1, NULL),
	(11, 'Contact Updated', 'created', 'endusers', '67b05790b3a10000000000e4', '67af61a5b3a10000000000c3', '67b05790b3a10000000000e4', '2025-02-15 09:00:00+00', '2026-11-26 20:57:45.742939+00', 1, NULL),
	(12, 'Contact Updated', 'created', 'endusers', '67eca830b3a10000000000e5', '67eb80e0b3a10000000000c4', '67eca830b3a10000000000e5', '2025-04-02 03:00:00+00', '2026-11-26 20:57:45.742939+00', 1, NULL),
	(13, 'License Updated', 'created', 'licenses', '64b0000000000000000000ff', '675805e0b3a10000000000c1', NULL, '2023-07-13 13:45:36+00', '2026-11-26 20:57:45.754472+00', 1, NULL),
	(14, 'License Updated', 'created', 'licenses', '675807c0b3a10000000011c1', '675805e0b3a10000000000c1', NULL, '2024-12-10 09:20:00+00', '2026-11-26 20:57:45.754472+00', 1, NULL),
	(15, 'License Updated', 'created', 'licenses', '677fae88b3a10000000011c5', '677fac30b3a10000000000c7', NULL, '2025-01-09 11:10:00+00', '2026-11-26 20:57:45.754472+00', 1, NULL),
	(16, 'License Updated', 'created', 'licenses', '678e1fccb3a10000000011c3', '678e1ea0b3a10000000000c2', NULL, '2025-01-20 10:05:00+00', '2026-11-26 20:57:45.754472+00', 1, NULL),
	(17, 'License Updated', 'created', 'licenses', '67eb8338b3a10000000011c4', '67eb80e0b3a10000000000c4', NULL, '2025-04-01 06:10:00+00', '2026-11-26 20:57:45.754472+00', 1, NULL),
	(18, 'License Updated', 'created', 'licenses', '69392880b3a10000000011c2', '675805e0b3a10000000000c1', NULL, '2025-12-10 08:00:00+00', '2026-11-26 20:57:45.754472+00', 1, NULL),
	(19, 'Contact Updated', 'created', 'endusers', '6780efa0b3a10000000000e7', '677fac30b3a10000000000c7', '6780efa0b3a10000000000e7', '2025-01-10 10:00:00+00', '2026-11-26 20:57:45.757226+00', 1, NULL),
	(20, 'Contact Updated', 'created', 'endusers', '68304720b3a10000000000e6', '682f287cb3a10000000000c5', '68304720b3a10000000000e6', '2025-05-23 10:00:00+00', '2026-11-26 20:57:45.757226+00', 1, NULL),
	(21, 'Product Updated', 'created', 'products', '67514f70b3a1000000009101', NULL, NULL, '2024-12-05 07:00:00+00', '2026-11-26 20:57:45.801109+00', 1, NULL),
	(22, 'Product Updated', 'created', 'products', '67514f71b3a1000000009102', NULL, NULL, '2024-12-05 07:00:01+00', '2026-11-26 20:57:45.801109+00', 1, NULL),
	(23, 'Product Updated', 'created', 'products', '67a30c70b3a1000000009103', NULL, NULL, '2025-02-05 07:00:00+00', '2026-11-26 20:57:45.801109+00', 1, NULL),
	(24, 'Task Updated', 'created', 'tasks', '69a7e680b3a1000000000703', '678e1ea0b3a10000000000c2', NULL, '2026-03-04 08:00:00+00', '2026-11-26 20:57:45.813406+00', 1, NULL),
	(25, 'Task Updated', 'created', 'tasks', '6a856280b3a1000000000704', '67af61a5b3a10000000000c3', '67b05790b3a10000000000e4', '2026-08-19 08:00:00+00', '2026-11-26 20:57:45.813406+00', 1, NULL),
	(26, 'Task Updated', 'created', 'tasks', '6ae44e80b3a1000000000705', '67eb80e0b3a10000000000c4', '67eca830b3a10000000000e5', '2026-10-30 08:00:00+00', '2026-11-26 20:57:45.813406+00', 1, NULL),
	(27, 'Conversation Updated', 'created', 'conversations', '694429b0b3a10000000000d3', '678e1ea0b3a10000000000c2', '678f6210b3a10000000000e3', '2025-12-18 16:20:00+00', '2026-11-26 20:57:45.827042+00', 1, NULL),
	(28, 'Conversation Updated', 'created', 'conversations', '69f9b190b3a10000000000d2', '67eb80e0b3a10000000000c4', '67eca830b3a10000000000e5', '2026-05-05 09:00:00+00', '2026-11-26 20:57:45.827042+00', 1, NULL),
	(29, 'Conversation Updated', 'created', 'conversations', '68b55280b3a1000000000701', '675805e0b3a10000000000c1', '675ab420b3a10000000000e2', '2026-05-05 09:00:01+00', '2026-11-26 20:57:45.827042+00', 1, NULL),
	(30, 'Conversation Updated', 'created', 'conversations', '6a5f4582b3a1000000000053', '67af61a5b3a10000000000c3', '67b05790b3a10000000000e4', '2026-07-21 10:10:10.01+00', '2026-11-26 20:57:45.827042+00', 1, NULL),
	(31, 'Conversation Updated', 'created', 'conversations', '6af87770b3a10000000000d1', '675805e0b3a10000000000c1', '675962a0b3a10000000000e1', '2026-11-14 15:00:00+00', '2026-11-26 20:57:45.827042+00', 1, NULL),
	(32, 'Task Updated', 'created', 'tasks', '68b55280b3a1000000000701', '675805e0b3a10000000000c1', '675ab420b3a10000000000e2', '2025-09-01 08:00:00+00', '2026-11-26 20:57:45.83335+00', 1, NULL),
	(33, 'Task Updated', 'created', 'tasks', '68eb6000b3a1000000000702', '678e1ea0b3a10000000000c2', '678f6210b3a10000000000e3', '2025-10-12 08:00:00+00', '2026-11-26 20:57:45.83335+00', 1, NULL),
	(34, 'Company Updated', 'updated', 'companies', '675805e0b3a10000000000c1', '675805e0b3a10000000000c1', NULL, '2026-11-26 20:57:50.794341+00', '2026-11-26 20:57:50.794341+00', 2, '{"planhat__phase": {"new": "Adoption", "old": "a phase that has passed"}}'),
	(35, 'License Updated', 'deleted', 'licenses', '64b0000000000000000000ff', '675805e0b3a10000000000c1', NULL, '2026-11-26 20:57:50.946713+00', '2026-11-26 20:57:50.946713+00', 2, NULL);


--
-- Data for Name: companies; Type: TABLE DATA; Schema: planhat; Owner: -
--

INSERT INTO planhat.companies VALUES
	('677fac30b3a10000000000c7', 113585465683165942, '2026-11-26 20:57:45.697733+00', '2026-11-26 20:57:45.697733+00', NULL, 1, NULL, NULL, 12, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2025-01-09 11:00:00+00', NULL, NULL, NULL, '2025-01-09 00:00:00+00', '2026-03-31 00:00:00+00', NULL, NULL, NULL, NULL, 'crm-1007', NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-03-28 13:00:00+00', NULL, NULL, 'email', '2026-04-02 07:00:00+00', NULL, 0, 18200.4, NULL, NULL, 'Zażółć Logistics', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '"67878018b3a10000000000a2"', 'Churned', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'lost', NULL, '["Łódź"]', '2026-04-02 07:00:00+00', NULL, NULL, NULL, NULL, 35, NULL, NULL, NULL, NULL, '0012', NULL, NULL, NULL, NULL, '', NULL, 'Silver', NULL, NULL, NULL),
	('678e1ea0b3a10000000000c2', 118729510109427008, '2026-11-26 20:57:45.697733+00', '2026-11-26 20:57:45.697733+00', NULL, 1, '{"planhat__seats__custom": "about 20"}', NULL, 3, NULL, NULL, 51600, true, 'Lübeck', NULL, NULL, 'Germany', '2025-01-20 10:00:00+00', NULL, NULL, NULL, '2025-01-19 23:00:00+00', NULL, NULL, NULL, NULL, '["nordlicht.example", "nordlicht-energie.example"]', 'crm-1002', '{}', NULL, 3, 0, NULL, NULL, NULL, NULL, NULL, NULL, '2026-10-28 12:00:00+00', '{"call": "2026-10-28T12:00:00.000Z"}', NULL, 'call', '2026-11-20 16:45:12.003+00', NULL, 4300, 51600, NULL, NULL, 'Nordlicht Energie GmbH', '2026-12-01 09:00:00+00', NULL, NULL, NULL, NULL, '1', NULL, '["675805e0b3a10000000000c1", "678e1ea0b3a10000000000c2"]', '675805e0b3a10000000000c1', NULL, '"67878018b3a10000000000a2"', 'Onboarding', NULL, NULL, NULL, '["Base"]', NULL, '2027-01-19 23:00:00+00', 59, NULL, NULL, NULL, NULL, NULL, 'customer', '{}', '[]', '2026-11-20 16:45:12.003+00', '{}', NULL, NULL, NULL, NULL, NULL, NULL, '{"_id": "674d6900b3a10000000000a1", "nickName": "Sam"}', 1450.75, NULL, NULL, NULL, '[]', NULL, '<p>Läuft gut.</p>', 0.35, 'Gold', 14, NULL, NULL),
	('67af61a5b3a10000000000c3', 74916540952297543, '2026-11-26 20:57:45.697733+00', '2026-11-26 20:57:45.697733+00', NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'Buenos Aires', NULL, NULL, 'Argentina', '2025-02-14 15:30:45.5+00', '2025-02-14 15:30:45.5+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '[]', 'crm-1003', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-07-21 10:10:10.01+00', NULL, NULL, 'ticket', NULL, NULL, 0, NULL, 0, NULL, 'Café Corrientes S.A.', NULL, 9, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{"_id": "67c55dfcb3a10000000000a3", "nickName": "Zoë"}', 'Onboarding', NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL, 'coming', NULL, '["Piloto"]', '2026-06-30 23:59:59.999+00', NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '["B"]', NULL, NULL, 1, '', NULL, NULL, '2026-12-15 00:00:00+00'),
	('67eb80e0b3a10000000000c4', 104164940502715617, '2026-11-26 20:57:45.697733+00', '2026-11-26 20:57:45.697733+00', NULL, 1, NULL, NULL, 1, NULL, NULL, 3000000, NULL, '札幌', NULL, NULL, '日本', '2025-04-01 06:00:00+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '["hokkai.example"]', NULL, NULL, NULL, 9.5, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-05-05 09:00:00+00', '{"🎓 Training": "2026-05-05T09:00:00.000Z"}', NULL, '🎓 Training', '2026-09-01 00:00:00+00', NULL, 250000, NULL, 250000, 4750000, '北海テクノロジー株式会社', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '[]', NULL, NULL, '{"_id": "68481e40b3a10000000000a4", "nickName": "Kenji"}', '契約更新', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '001-HOKKAI', 'customer', NULL, '["APAC"]', '2026-09-15 02:30:00+00', '{"674ba700b3a10000000000f1": 88123456789012345678}', NULL, NULL, NULL, 1200, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '["A", "B", "C"]', NULL, NULL, NULL, 'Platinum', 7.142857142857143, '札幌商会', NULL),
	('682f287cb3a10000000000c5', 124408354889099146, '2026-11-26 20:57:45.697733+00', '2026-11-26 20:57:45.697733+00', NULL, 1, NULL, NULL, NULL, NULL, '[]', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2025-05-22 13:37:00+00', NULL, NULL, NULL, NULL, '[]', NULL, '{}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-05-22 13:37:00+00', NULL, NULL, NULL, NULL, NULL, NULL, 3750, 3950, 3750, 3750, 'Test Company', '2026-12-05 12:00:00.944+00', NULL, 0, 200, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{"team": {"fields": []}, "euIds": [], "sunits": false, "enabled": false}', NULL, NULL, 'customer', '{}', '[]', NULL, '{}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
	('6a992c84b3a10000000000c6', 131789531869189337, '2026-11-26 20:57:45.697733+00', '2026-11-26 20:57:45.697733+00', NULL, 1, NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '2026-09-03 08:15:00+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'crm-1006', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'Bright & Early Ltd', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '"674d6900b3a10000000000a1"', 'Trial', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'prospect', NULL, '[]', '2026-11-18 08:00:00+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
	('675805e0b3a10000000000c1', 130795787924895936, '2026-11-26 20:57:45.697733+00', '2026-11-26 20:57:50.755646+00', NULL, 2, NULL, NULL, 0, 'Skeppsbron 1', '[]', 14406, false, 'Malmö', '"67878018b3a10000000000a2"', '["67c55dfcb3a10000000000a3"]', 'Sweden', '2024-12-10 09:12:00.12+00', '2024-12-10 09:12:00.12+00', 4, '[{"time": "2026-10-01T08:00:00.000Z", "score": 4}, "3"]', '2024-12-10 00:00:00+00', NULL, 538, 'Makes sails.
Since 1893.', '[]', '["akero.example"]', '', '{}', '[]', 7, -2, '2026-11-01 00:00:00+00', '674ba700b3a10000000000f3', '2026-11-19 06:12:44.12+00', '[]', '[]', '2025-11-18 00:00:00+00', '2026-11-14 15:00:00+00', '{"Note": "2025-01-07T09:00:00.000Z", "note": "2026-11-14T15:00:00.000Z", "🎓 Training": "2026-05-05T09:00:00.000Z"}', '2026-11-14 15:00:00+00', 'note', '2026-11-11 10:00:00+00', '[{"url": "https://board.example/1", "name": "Board"}]', 1200.5, 28812.75, 1200.5, 28812, 'Åkerö & Söner', '2026-11-27 09:00:00+00', 8.5, 0, 800.75, true, '0', 1200.5, NULL, '675805e0b3a10000000000c1', '"1"', '{"_id": "674d6900b3a10000000000a1", "nickName": "Sam"}', 'Adoption', '2025-06-01 00:00:00+00', '+46 40 123 456', '+4640123456', '["Base", "Insights"]', 14406, '2026-11-18 00:00:00+00', -3, 1200.5, 0.1, '{"team": {"fields": []}, "euIds": [], "sunits": false, "enabled": false}', 'akero-soner', '001-AKERO', 'customer', '{"674ba700b3a10000000000f2": {"status": "on", "default": true}}', '["Nordics", "VIP ⭐"]', '2026-11-09 10:00:00+00', '{"Ratio 🔥": 29.285714285714285, "Logins last 7 days": 3, "logins last 7 days": 4, "674ba700b3a10000000000f1": 12}', 'https://akero.example', '211 20', 1, 10, '10', -3, '"67c55dfcb3a10000000000a3"', NULL, NULL, true, '2025-01-07 08:30:00+00', '["A", "B"]', 0.1, '', NULL, NULL, 29.285714285714285, NULL, '2025-03-01 00:00:00+00');


--
-- Data for Name: conversations; Type: TABLE DATA; Schema: planhat; Owner: -
--

INSERT INTO planhat.conversations VALUES
	('68b55280b3a1000000000701', 86871420838346159, '2026-11-26 20:57:45.821006+00', '2026-11-26 20:57:45.821006+00', NULL, 1, NULL, NULL, NULL, NULL, false, NULL, '675805e0b3a10000000000c1', 'Åkerö & Söner', NULL, '2026-05-05 09:00:01+00', '2026-05-05 09:00:00+00', NULL, '<p>Went well.</p>', NULL, NULL, '2026-05-05 09:00:00+00', '[{"id": "675ab420b3a10000000000e2", "name": "Soren Oneil"}]', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'Went well.', NULL, NULL, '2026-05-05 08:00:00+00', NULL, 'Quarterly review', NULL, '68b55280b3a1000000000701', NULL, '[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
[00:01] Sam: Hej!
[00:04] Søren: Hej, hej.
', 'call', '2026-05-05 09:00:01+00', NULL, NULL, '[{"id": "674d6900b3a10000000000a1", "name": "Sam", "isOwner": true}]', NULL, NULL, NULL, NULL, NULL, NULL),
	('694429b0b3a10000000000d3', 98110995376053159, '2026-11-26 20:57:45.821006+00', '2026-11-26 20:57:45.821006+00', NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL, '678e1ea0b3a10000000000c2', 'Nordlicht Energie GmbH', '2025-12-18 16:20:00+00', NULL, '2025-12-18 16:20:00+00', NULL, '<p>Vielen Dank für das Angebot</p>', NULL, NULL, NULL, '[{"id": "678f6210b3a10000000000e3", "name": "Jürgen Müller"}]', NULL, NULL, NULL, false, NULL, NULL, false, NULL, NULL, NULL, NULL, NULL, NULL, '2025-12-18 16:20:00+00', NULL, false, '[{"id": "678f6210b3a10000000000e3", "type": "enduser"}]', NULL, 'Vielen Dank für das Angebot', NULL, NULL, NULL, NULL, 'Re: Angebot', NULL, NULL, NULL, NULL, 'email', '2025-12-18 16:21:00+00', NULL, NULL, '[]', NULL, NULL, NULL, NULL, NULL, NULL),
	('69f9b190b3a10000000000d2', 102741735441039310, '2026-11-26 20:57:45.821006+00', '2026-11-26 20:57:45.821006+00', NULL, 1, NULL, NULL, NULL, NULL, false, NULL, '67eb80e0b3a10000000000c4', '北海テクノロジー株式会社', '2026-05-05 09:00:00+00', NULL, '2026-05-05 09:00:00+00', NULL, NULL, NULL, NULL, NULL, '[{"id": "67eca830b3a10000000000e5", "name": "田中 美"}]', NULL, NULL, NULL, NULL, '["created"]', NULL, NULL, true, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '全員参加', NULL, NULL, NULL, NULL, '研修 第一回', NULL, NULL, NULL, NULL, '🎓 Training', '2026-05-05 10:00:00+00', NULL, NULL, '[{"id": "68481e40b3a10000000000a4", "name": "Kenji", "isOwner": true}]', 17, NULL, 4.666666666666667, NULL, NULL, NULL),
	('6a5f4582b3a1000000000053', 119398598273488177, '2026-11-26 20:57:45.821006+00', '2026-11-26 20:57:45.821006+00', NULL, 1, NULL, NULL, NULL, NULL, false, NULL, '67af61a5b3a10000000000c3', 'Café Corrientes S.A.', '2026-07-21 10:10:10.01+00', NULL, '2026-07-21 10:10:10.01+00', 20655, '<p>Al exportar a CSV, la <b>ñ</b> se pierde.</p>', 'jose@corrientes.example', NULL, NULL, '[{"id": "67b05790b3a10000000000e4", "name": "José García"}]', 'ZD-3003', NULL, NULL, NULL, '[{"time": "2026-07-21T10:10:10.010Z", "status": "open"}]', '2026-07-21 10:10:10.01+00', NULL, NULL, true, NULL, NULL, 3, 2, NULL, NULL, NULL, NULL, 'high', 'Al exportar…', 'zendesk', NULL, NULL, 'open', 'Exportación falla con “ñ”', '["export"]', NULL, '["2026", "2026-Q3", "2026-7", "2026-W30"]', NULL, 'ticket', '2026-11-15 18:20:00.5+00', 'https://support.example/3003', NULL, '[]', NULL, 1, NULL, '2026-08-02 19:38:16+00', NULL, NULL),
	('6af87770b3a10000000000d1', 74627262109615047, '2026-11-26 20:57:45.821006+00', '2026-11-26 20:57:45.821006+00', NULL, 1, NULL, NULL, 0, '[]', false, '[]', '675805e0b3a10000000000c1', 'Åkerö & Söner', '2026-11-14 15:00:00+00', '2026-11-14 15:00:00+00', '2026-11-14 15:00:00+00', NULL, '<p>Renewal agreed in principle.</p><p>Legal is <i>reading</i>.</p>', NULL, '[]', NULL, '[{"id": "675962a0b3a10000000000e1", "name": "Kim Åberg"}]', NULL, '["67878018b3a10000000000a2"]', false, NULL, '[]', NULL, NULL, false, false, true, '', 1, 1, NULL, false, NULL, '[]', NULL, 'Renewal agreed in principle. Legal is…', NULL, true, NULL, NULL, 'Styrelsemöte', '[]', NULL, '["2026", "2026-Q4", "2026-11", "2026-W46"]', NULL, 'note', '2026-11-14 15:00:02+00', NULL, '["674d6900b3a10000000000a1"]', '[{"id": "674d6900b3a10000000000a1", "name": "Sam", "isOwner": true}]', NULL, NULL, NULL, NULL, '😀', '["renewal"]');


--
-- Data for Name: endusers; Type: TABLE DATA; Schema: planhat; Owner: -
--

INSERT INTO planhat.endusers VALUES
	('675962a0b3a10000000000e1', 83741098265337703, '2026-11-26 20:57:45.73826+00', '2026-11-26 20:57:45.73826+00', NULL, 1, NULL, NULL, 0, false, -0.125, 41, 803, '675805e0b3a10000000000c1', 'Åkerö & Söner', 1, 17, '2024-12-11 10:00:00+00', NULL, 'kim@akero.example', '0cc175b9c0f1b6a831c399e269772661', 62.857142857142854, 'u-2001', true, 'Kim', '2026-11-19 06:12:44.12+00', 'Åberg', '2026-11-14 15:00:00+00', '{"note": "2026-11-14T15:00:00.000Z"}', 'note', 'Kim Åberg', 9, 'Snabbt och enkelt 👍', '2026-10-02 07:00:00+00', false, '[]', '[]', '+46 70 000 00 01', 'CIO', true, '[]', '{"enabled": [], "disabled": [], "disabledEvents": []}', NULL, '["DM", "Main User"]', '2026-11-14 15:00:02.565+00', '{"674ba700b3a10000000000f1": 12}', true, '["Sailing", "API"]', 'Decision maker', NULL, '2025-01-07 00:00:00+00'),
	('675ab420b3a10000000000e2', 86553709712976020, '2026-11-26 20:57:45.73826+00', '2026-11-26 20:57:45.73826+00', NULL, 1, NULL, NULL, 2, false, NULL, 0, NULL, '675805e0b3a10000000000c1', 'Åkerö & Söner', NULL, 2, '2024-12-12 10:00:00+00', NULL, 'soren@akero.example', NULL, NULL, 'u-2002', false, 'Søren', NULL, 'O''Neil', '2026-05-05 09:00:00+00', NULL, '🎓 Training', 'Søren O''Neil', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '', NULL, NULL, NULL, NULL, '[]', '2026-05-06 11:00:00+00', NULL, false, '[]', NULL, NULL, NULL),
	('678f6210b3a10000000000e3', 140680992487765103, '2026-11-26 20:57:45.73826+00', '2026-11-26 20:57:45.73826+00', NULL, 1, '{"planhat__trained_on__custom": "2026-02-30"}', NULL, 0, false, NULL, NULL, NULL, '678e1ea0b3a10000000000c2', 'Nordlicht Energie GmbH', NULL, NULL, '2025-01-21 09:00:00+00', '2025-01-21 09:00:00+00', 'j.mueller@nordlicht.example', NULL, NULL, NULL, false, 'Jürgen', '2026-11-18 13:00:00+00', 'Müller', '2026-10-28 12:00:00+00', NULL, 'call', 'Jürgen Müller', NULL, NULL, NULL, NULL, NULL, NULL, '', 'Einkauf', true, NULL, NULL, '003-JM', '["Entscheider"]', '2026-11-20 16:45:12.003+00', NULL, NULL, NULL, 'User', NULL, NULL),
	('67b05790b3a10000000000e4', 137341766869523647, '2026-11-26 20:57:45.73826+00', '2026-11-26 20:57:45.73826+00', NULL, 1, NULL, NULL, NULL, false, NULL, NULL, NULL, '67af61a5b3a10000000000c3', 'Café Corrientes S.A.', NULL, NULL, '2025-02-15 09:00:00+00', NULL, 'jose@corrientes.example', NULL, NULL, 'u-2004', NULL, 'José', NULL, 'García', NULL, NULL, NULL, 'José García', 10, NULL, '2026-07-25 00:00:00+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '[]', '2026-07-25 08:00:00+00', NULL, NULL, NULL, '', 98.6, NULL),
	('67eca830b3a10000000000e5', 76513669492888018, '2026-11-26 20:57:45.73826+00', '2026-11-26 20:57:45.73826+00', NULL, 1, NULL, NULL, NULL, false, NULL, NULL, NULL, '67eb80e0b3a10000000000c4', '北海テクノロジー株式会社', NULL, NULL, '2025-04-02 03:00:00+00', NULL, 'mei@hokkai.example', NULL, NULL, 'u-2005', true, '美', NULL, '田中', '2026-05-05 09:00:00+00', NULL, NULL, '田中 美', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '部長', NULL, NULL, NULL, NULL, '["APAC"]', '2026-09-15 02:30:00+00', NULL, NULL, NULL, NULL, 0.1, '2026-05-05 00:00:00+00'),
	('6780efa0b3a10000000000e7', 129610546456112064, '2026-11-26 20:57:45.754121+00', '2026-11-26 20:57:45.754121+00', NULL, 1, NULL, NULL, 1, true, NULL, NULL, NULL, '677fac30b3a10000000000c7', 'Zażółć Logistics', NULL, NULL, '2025-01-10 10:00:00+00', NULL, 'piotr@zazolc.example', NULL, NULL, 'u-2007', NULL, 'Piotr', NULL, 'Nowak', '2026-03-28 13:00:00+00', NULL, 'email', 'Piotr Nowak', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '[]', '2026-04-02 07:00:00+00', NULL, NULL, NULL, 'User', NULL, NULL),
	('68304720b3a10000000000e6', 117006869459067418, '2026-11-26 20:57:45.754121+00', '2026-11-26 20:57:45.754121+00', NULL, 1, NULL, NULL, 0, true, 0, 0, 0, '682f287cb3a10000000000c5', 'Test Company', 0, 0, '2025-05-23 10:00:00+00', NULL, 'toaonxe75e@mail.example', '7c492dbb72d1aaca330e82e78972ce51', 0, 'toaonxe75e', true, 'first-test', NULL, 'last-test', NULL, NULL, NULL, 'first-test last-test', NULL, NULL, NULL, false, '[]', '[]', '0037128280459', 'CIO', NULL, '[]', '{"enabled": [], "disabled": [], "disabledEvents": []}', NULL, '["DM", "Main User"]', '2025-05-23 10:00:00.003+00', NULL, NULL, NULL, NULL, NULL, NULL);


--
-- Data for Name: licenses; Type: TABLE DATA; Schema: planhat; Owner: -
--

INSERT INTO planhat.licenses VALUES
	('675807c0b3a10000000011c1', 138138652338376313, '2026-11-26 20:57:45.747095+00', '2026-11-26 20:57:45.747095+00', NULL, 1, NULL, NULL, 0, '"EUR"', 12006, false, '675805e0b3a10000000000c1', 'Åkerö & Söner', 'lic-1', NULL, NULL, NULL, true, '2024-12-10 00:00:00+00', 'yearly', 0, NULL, false, false, '[]', 12, 1000.5, 30, 'day', NULL, 'Base', '2025-12-10 00:00:00+00', -346, 12, 'renewed', 'month', NULL, '2025-12-10 00:00:00+00', false, 12006, NULL, NULL),
	('677fae88b3a10000000011c5', 143624296319088312, '2026-11-26 20:57:45.747095+00', '2026-11-26 20:57:45.747095+00', NULL, 1, NULL, NULL, 0, '"USD"', NULL, NULL, '677fac30b3a10000000000c7', 'Zażółć Logistics', NULL, NULL, NULL, NULL, true, '2025-01-09 09:09:08+00', NULL, NULL, NULL, NULL, false, '[]', 14.5, 1250, 30, 'day', NULL, 'License Fee', NULL, NULL, NULL, 'lost', 'month', NULL, '2026-03-31 09:09:08+00', NULL, 18200.4, NULL, NULL),
	('678e1fccb3a10000000011c3', 91580143343310719, '2026-11-26 20:57:45.747095+00', '2026-11-26 20:57:45.747095+00', NULL, 1, NULL, NULL, NULL, '"EUR"', 51600, true, '678e1ea0b3a10000000000c2', 'Nordlicht Energie GmbH', NULL, 4500, 5000, 4300, false, '2025-01-19 23:00:00+00', NULL, NULL, false, NULL, NULL, '[]', NULL, 4300, 30, 'day', NULL, 'Insights', '2027-01-19 23:00:00+00', 59, NULL, 'ongoing', 'month', 'ongoing', NULL, NULL, NULL, NULL, NULL),
	('67eb8338b3a10000000011c4', 116589411459642985, '2026-11-26 20:57:45.747095+00', '2026-11-26 20:57:45.747095+00', NULL, 1, NULL, NULL, NULL, '"JPY"', 3000000, NULL, '67eb80e0b3a10000000000c4', '北海テクノロジー株式会社', NULL, NULL, NULL, NULL, true, '2025-04-01 00:00:00+00', NULL, NULL, NULL, NULL, false, '[]', 36, 250000, 30, 'day', NULL, 'Base', NULL, NULL, NULL, 'ongoing', 'month', NULL, '2028-03-31 00:00:00+00', NULL, 9000000, NULL, NULL),
	('69392880b3a10000000011c2', 142716924620198973, '2026-11-26 20:57:45.747095+00', '2026-11-26 20:57:45.747095+00', NULL, 1, NULL, NULL, 1, '{"__v": 0, "_id": "674ba700b3a10000000000cc", "rate": 1, "isBase": true, "symbol": "EUR", "overrides": {}}', 14406, false, '675805e0b3a10000000000c1', 'Åkerö & Söner', 'lic-2', NULL, NULL, NULL, true, '2025-12-10 00:00:00+00', NULL, NULL, NULL, NULL, true, '[]', 11.258064516129032, 1200.5, 30, 'day', '675807c0b3a10000000011c1', 'Base', '2026-11-18 00:00:00+00', -3, 12, 'ongoing', 'month', NULL, '2026-11-18 00:00:00+00', NULL, 13445.6, 7.5, '00417'),
	('64b0000000000000000000ff', 128733999521605057, '2026-11-26 20:57:45.747095+00', '2026-11-26 20:57:50.943568+00', '2026-11-26 20:57:50.943568+00', 2, NULL, NULL, NULL, NULL, NULL, NULL, '675805e0b3a10000000000c1', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 12.5, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);


--
-- Data for Name: products; Type: TABLE DATA; Schema: planhat; Owner: -
--

INSERT INTO planhat.products VALUES
	('67514f70b3a1000000009101', 101110396485686859, '2026-11-26 20:57:45.799225+00', '2026-11-26 20:57:45.799225+00', NULL, 1, NULL, NULL, 1194, true, '#00aa55', '2024-12-05 07:00:00+00', 'EUR', 'base', true, 12, 99.5, 'Base', 30, 'day', '[]', 12, 'subscription', '2025-12-01 07:00:00+00', 1194, NULL),
	('67514f71b3a1000000009102', 74228376814209251, '2026-11-26 20:57:45.799225+00', '2026-11-26 20:57:45.799225+00', NULL, 1, NULL, NULL, NULL, NULL, NULL, '2024-12-05 07:00:01+00', 'EUR', NULL, false, NULL, 400.25, 'Insights', NULL, NULL, '[{"mrr": 400.25, "name": "S"}]', NULL, 'subscription', '2026-08-01 07:00:00+00', NULL, NULL),
	('67a30c70b3a1000000009103', 94670077935084966, '2026-11-26 20:57:45.799225+00', '2026-11-26 20:57:45.799225+00', NULL, 1, NULL, NULL, NULL, NULL, NULL, '2025-02-05 07:00:00+00', 'USD', NULL, NULL, NULL, NULL, 'Setup (einmalig)', NULL, NULL, NULL, NULL, 'fee', '2025-02-05 07:00:00+00', 0.5, '0100');


--
-- Data for Name: tasks; Type: TABLE DATA; Schema: planhat; Owner: -
--

INSERT INTO planhat.tasks VALUES
	('69a7e680b3a1000000000703', 143962146028473976, '2026-11-26 20:57:45.80588+00', '2026-11-26 20:57:45.80588+00', NULL, 1, NULL, NULL, 'Check seats', '["5f"]', NULL, '678e1ea0b3a10000000000c2', 'Nordlicht Energie GmbH', '2026-03-04 08:00:00+00', NULL, '[]', false, 'task', true, '67878018b3a10000000000a2', 'Ingrid', NULL, NULL, '2026-11-23 00:00:00+00', 'In-progress', 'todo', '2026-11-16 09:00:00+00', NULL, 1.5, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
	('6a856280b3a1000000000704', 130577710876488190, '2026-11-26 20:57:45.80588+00', '2026-11-26 20:57:45.80588+00', NULL, 1, NULL, NULL, 'Llamar a José ☎️', NULL, '[{"done": false, "text": "Número"}]', '67af61a5b3a10000000000c3', 'Café Corrientes S.A.', '2026-08-19 08:00:00+00', NULL, '["67b05790b3a10000000000e4"]', false, 'task', NULL, '67c55dfcb3a10000000000a3', 'Zoe', 'weekly', 7, '2026-12-01 13:00:00+00', 'To Do', 'todo', '2026-08-19 08:00:00+00', '"Onboarding"', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
	('6ae44e80b3a1000000000705', 103470351936404121, '2026-11-26 20:57:45.80588+00', '2026-11-26 20:57:45.80588+00', NULL, 1, NULL, NULL, '研修', NULL, NULL, '67eb80e0b3a10000000000c4', '北海テクノロジー株式会社', '2026-10-30 08:00:00+00', '2026-11-30 03:00:00+00', '[{"id": "67eca830b3a10000000000e5", "name": "田中 美"}]', false, 'event', NULL, '68481e40b3a10000000000a4', 'Kenji', NULL, NULL, '2026-11-30 01:00:00+00', 'ignored', '🎓 Training', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
	('68b55280b3a1000000000701', 111153340548644335, '2026-11-26 20:57:45.82165+00', '2026-11-26 20:57:45.82165+00', NULL, 1, NULL, NULL, 'Quarterly review', '[]', '[]', '675805e0b3a10000000000c1', 'Åkerö & Söner', '2025-09-01 08:00:00+00', '2026-05-05 09:00:00+00', '["675ab420b3a10000000000e2"]', true, 'event', false, '674d6900b3a10000000000a1', 'Sam', NULL, NULL, '2026-05-05 08:00:00+00', 'done', 'call', '2026-05-05 09:00:01+00', NULL, NULL, 0, '2026-05-05 09:00:00+00', '

<p>Bring the figures</p>', '{"_id": "674d6900b3a10000000000a1", "nickName": "Sam"}', '"69f9b190b3a10000000000d2"', false, 'User', false, 'Bring the figures', '["674d6900b3a10000000000a1"]'),
	('68eb6000b3a1000000000702', 101307719136644645, '2026-11-26 20:57:45.82165+00', '2026-11-26 20:57:45.82165+00', NULL, 1, NULL, NULL, 'Vertrag schicken', NULL, NULL, '678e1ea0b3a10000000000c2', 'Nordlicht Energie GmbH', '2025-10-12 08:00:00+00', NULL, '[{"id": "678f6210b3a10000000000e3", "name": "Jürgen Müller"}]', true, 'task', NULL, '67878018b3a10000000000a2', 'Ingrid', '', 0, NULL, 'Done', 'email', '2025-10-20 10:00:00+00', NULL, NULL, NULL, '2025-10-20 10:00:00+00', '', '"67878018b3a10000000000a2"', NULL, NULL, NULL, NULL, NULL, NULL);


--
-- Data for Name: announced_states; Type: TABLE DATA; Schema: planhat_sync; Owner: -
--

INSERT INTO planhat_sync.announced_states VALUES
	('planhat', '{"objects": {"products": "quarantine"}}', '2026-11-26 20:57:45.84718+00');


--
-- Data for Name: columns; Type: TABLE DATA; Schema: planhat_sync; Owner: -
--

INSERT INTO planhat_sync.columns VALUES
	('planhat', 'companies', 'planhat__id', 0, 'property', '_id', 'text', '2026-11-26 20:57:45.667214+00', NULL, NULL),
	('planhat', 'companies', 'planhat__v', 1, 'property', '__v', 'numeric', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__address', 2, 'property', 'address', 'text', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__alerts', 3, 'property', 'alerts', 'jsonb', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__arr', 4, 'property', 'arr', 'numeric', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__auto_renews', 5, 'property', 'autoRenews', 'boolean', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__city', 6, 'property', 'city', 'text', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__co_owner', 7, 'property', 'coOwner', 'jsonb', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__collaborators', 8, 'property', 'collaborators', 'jsonb', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__country', 9, 'property', 'country', 'text', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__create_date', 10, 'property', 'createDate', 'timestamptz', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__created_at', 11, 'property', 'createdAt', 'timestamptz', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__csm_score', 12, 'property', 'csmScore', 'numeric', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__csm_score_log', 13, 'property', 'csmScoreLog', 'jsonb', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__customer_from', 14, 'property', 'customerFrom', 'timestamptz', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__customer_to', 15, 'property', 'customerTo', 'timestamptz', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__days_in_phase', 16, 'property', 'daysInPhase', 'numeric', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__description', 17, 'property', 'description', 'text', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__documents', 18, 'property', 'documents', 'jsonb', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__domains', 19, 'property', 'domains', 'jsonb', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__external_id', 20, 'property', 'externalId', 'text', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__features', 21, 'property', 'features', 'jsonb', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__followers', 22, 'property', 'followers', 'jsonb', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__health', 23, 'property', 'h', 'numeric', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__health_diff', 24, 'property', 'hDiff', 'numeric', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__health_diff_date', 25, 'property', 'hDiffDate', 'timestamptz', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__health_profile', 26, 'property', 'hProfile', 'text', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__last_active', 27, 'property', 'lastActive', 'timestamptz', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__last_activities', 28, 'property', 'lastActivities', 'jsonb', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__last_performed_triggers', 29, 'property', 'lastPerformedTriggers', 'jsonb', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__last_renewal', 30, 'property', 'lastRenewal', 'timestamptz', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__last_touch', 31, 'property', 'lastTouch', 'timestamptz', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__last_touch_by_type', 32, 'property', 'lastTouchByType', 'jsonb', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__last_touch_time', 33, 'property', 'lastTouchTime', 'timestamptz', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__last_touch_type', 34, 'property', 'lastTouchType', 'text', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__last_updated', 35, 'property', 'lastUpdated', 'timestamptz', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__links', 36, 'property', 'links', 'jsonb', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__mr', 37, 'property', 'mr', 'numeric', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__mr_total', 38, 'property', 'mrTotal', 'numeric', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__mrr', 39, 'property', 'mrr', 'numeric', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__mrr_total', 40, 'property', 'mrrTotal', 'numeric', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__name', 41, 'property', 'name', 'text', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__next_touch', 42, 'property', 'nextTouch', 'timestamptz', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__nps', 43, 'property', 'nps', 'numeric', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__nrr30', 44, 'property', 'nrr30', 'numeric', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__nrr_total', 45, 'property', 'nrrTotal', 'numeric', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__org_independent', 46, 'property', 'orgIndependent', 'boolean', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__org_level', 47, 'property', 'orgLevel', 'text', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__org_mrr', 48, 'property', 'orgMrr', 'numeric', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__org_path', 49, 'property', 'orgPath', 'jsonb', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__org_root_id', 50, 'property', 'orgRootId', 'text', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__org_units', 51, 'property', 'orgUnits', 'jsonb', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__owner', 52, 'property', 'owner', 'jsonb', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__phase', 53, 'property', 'phase', 'text', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__phase_since', 54, 'property', 'phaseSince', 'timestamptz', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__phone_primary', 55, 'property', 'phonePrimary', 'text', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__phone_primary_raw', 56, 'property', 'phonePrimaryRaw', 'text', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__products', 57, 'property', 'products', 'jsonb', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__renewal_arr', 58, 'property', 'renewalArr', 'numeric', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__renewal_date', 59, 'property', 'renewalDate', 'timestamptz', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__renewal_days_from_now', 60, 'property', 'renewalDaysFromNow', 'numeric', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__renewal_mrr', 61, 'property', 'renewalMrr', 'numeric', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__sentiment_score', 62, 'property', 'sentimentScore', 'numeric', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__shareable', 63, 'property', 'shareable', 'jsonb', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__slug', 64, 'property', 'slug', 'text', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__source_id', 65, 'property', 'sourceId', 'text', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__status', 66, 'property', 'status', 'text', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__sunits', 67, 'property', 'sunits', 'jsonb', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__tags', 68, 'property', 'tags', 'jsonb', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__updated_at', 69, 'property', 'updatedAt', 'timestamptz', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__usage', 70, 'property', 'usage', 'jsonb', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__web', 71, 'property', 'web', 'text', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__zip', 72, 'property', 'zip', 'text', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__overdue_invoices__custom', 73, 'custom', '# Overdue Invoices', 'numeric', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__seats_c69fdec5__custom', 75, 'custom', '# seats', 'text', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__days_until_renewal__custom', 76, 'custom', 'Days until renewal', 'numeric', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__executive_sponsor__custom', 77, 'custom', 'Executive sponsor', 'jsonb', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__grosse_m2__custom', 78, 'custom', 'Größe (m²)', 'numeric', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__invoice_reference__custom', 79, 'custom', 'Invoice reference', 'text', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__is_reference__custom', 80, 'custom', 'Is reference?', 'boolean', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__kick_off__custom', 81, 'custom', 'Kick-off', 'timestamptz', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__modules__custom', 82, 'custom', 'Modules', 'jsonb', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__nps_csat__custom', 83, 'custom', 'NPS + CSAT', 'numeric', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__notes__custom', 84, 'custom', 'Notes', 'text', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__ratio__custom', 85, 'custom', 'Ratio', 'numeric', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__tier__custom', 86, 'custom', 'Tier?', 'text', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__week_no__custom', 87, 'custom', 'Week No', 'numeric', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__fan_mai_dai_li_dian__custom', 88, 'custom', '販売代理店', 'text', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'companies', 'planhat__rocket_go_live_eu__custom', 89, 'custom', '🚀 Go–live [EU]', 'timestamptz', '2026-11-26 20:57:45.678074+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__id', 0, 'property', '_id', 'text', '2026-11-26 20:57:45.6897+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__id', 0, 'property', '_id', 'text', '2026-11-26 20:57:45.715283+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__v', 1, 'property', '__v', 'numeric', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__archived', 2, 'property', 'archived', 'boolean', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__beat_trend', 3, 'property', 'beatTrend', 'numeric', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__beats', 4, 'property', 'beats', 'numeric', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__beats_total', 5, 'property', 'beatsTotal', 'numeric', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__company_id', 6, 'property', 'companyId', 'text', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__company_name', 7, 'property', 'companyName', 'text', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__convs14', 8, 'property', 'convs14', 'numeric', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__convs_total', 9, 'property', 'convsTotal', 'numeric', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__create_date', 10, 'property', 'createDate', 'timestamptz', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__created_at', 11, 'property', 'createdAt', 'timestamptz', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__email', 12, 'property', 'email', 'text', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__email_md5', 13, 'property', 'emailMd5', 'text', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__experience', 14, 'property', 'experience', 'numeric', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__external_id', 15, 'property', 'externalId', 'text', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__featured', 16, 'property', 'featured', 'boolean', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__first_name', 17, 'property', 'firstName', 'text', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__last_active', 18, 'property', 'lastActive', 'timestamptz', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__last_name', 19, 'property', 'lastName', 'text', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__last_touch', 20, 'property', 'lastTouch', 'timestamptz', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__last_touch_by_type', 21, 'property', 'lastTouchByType', 'jsonb', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__last_touch_type', 22, 'property', 'lastTouchType', 'text', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__name', 23, 'property', 'name', 'text', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__nps', 24, 'property', 'nps', 'numeric', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__nps_comment', 25, 'property', 'npsComment', 'text', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__nps_date', 26, 'property', 'npsDate', 'timestamptz', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__nps_unsubscribed', 27, 'property', 'npsUnsubscribed', 'boolean', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__other_emails', 28, 'property', 'otherEmails', 'jsonb', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__personas', 29, 'property', 'personas', 'jsonb', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__phone', 30, 'property', 'phone', 'text', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__position', 31, 'property', 'position', 'text', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__primary', 32, 'property', 'primary', 'boolean', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__related_endusers', 33, 'property', 'relatedEndusers', 'jsonb', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__shared_notifications_prefs', 34, 'property', 'sharedNotificationsPrefs', 'jsonb', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__source_id', 35, 'property', 'sourceId', 'text', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__tags', 36, 'property', 'tags', 'jsonb', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__updated_at', 37, 'property', 'updatedAt', 'timestamptz', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__usage', 38, 'property', 'usage', 'jsonb', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__champion__custom', 39, 'custom', 'Champion?', 'boolean', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__interests__custom', 40, 'custom', 'Interests', 'jsonb', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__role_internal__custom', 41, 'custom', 'Role (internal)', 'text', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__score__custom', 42, 'custom', 'Score', 'numeric', '2026-11-26 20:57:45.726725+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__v', 1, 'property', '__v', 'numeric', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__currency', 2, 'property', '_currency', 'jsonb', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__arr', 3, 'property', 'arr', 'numeric', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__auto_renews', 4, 'property', 'autoRenews', 'boolean', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'endusers', 'planhat__trained_on__custom', 43, 'custom', 'Trained on', 'timestamptz', '2026-11-26 20:57:45.726725+00', '2026-11-26 20:57:45.774577+00', 'text'),
	('planhat', 'licenses', 'planhat__company_id', 5, 'property', 'companyId', 'text', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__company_name', 6, 'property', 'companyName', 'text', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__external_id', 7, 'property', 'externalId', 'text', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__fc_new_mrr', 8, 'property', 'fcNewMrr', 'numeric', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__fc_new_mrr_optimistic', 9, 'property', 'fcNewMrrOptimistic', 'numeric', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__fc_new_mrr_pessimistic', 10, 'property', 'fcNewMrrPessimistic', 'numeric', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__fixed_period', 11, 'property', 'fixedPeriod', 'boolean', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__from_date', 12, 'property', 'fromDate', 'timestamptz', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__invoice_cycle', 13, 'property', 'invoiceCycle', 'text', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__invoice_cycle_interval', 14, 'property', 'invoiceCycleInterval', 'numeric', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__invoice_muted', 15, 'property', 'invoiceMuted', 'boolean', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__invoices_generated', 16, 'property', 'invoicesGenerated', 'boolean', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__is_overdue', 17, 'property', 'isOverdue', 'boolean', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__issues', 18, 'property', 'issues', 'jsonb', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__length', 19, 'property', 'length', 'numeric', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__mrr', 20, 'property', 'mrr', 'numeric', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__notice_period', 21, 'property', 'noticePeriod', 'numeric', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__notice_unit', 22, 'property', 'noticeUnit', 'text', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__parent', 23, 'property', 'parent', 'text', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__product', 24, 'property', 'product', 'text', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__renewal_date', 25, 'property', 'renewalDate', 'timestamptz', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__renewal_days_from_now', 26, 'property', 'renewalDaysFromNow', 'numeric', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__renewal_period', 27, 'property', 'renewalPeriod', 'numeric', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__renewal_status', 28, 'property', 'renewalStatus', 'text', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__renewal_unit', 29, 'property', 'renewalUnit', 'text', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__status', 30, 'property', 'status', 'text', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__to_date', 31, 'property', 'toDate', 'timestamptz', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__to_date_included', 32, 'property', 'toDateIncluded', 'boolean', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__value', 33, 'property', 'value', 'numeric', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__discount__custom', 34, 'custom', 'Discount %', 'numeric', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'licenses', 'planhat__po_number__custom', 35, 'custom', 'PO number', 'text', '2026-11-26 20:57:45.729577+00', NULL, NULL),
	('planhat', 'companies', 'planhat__seats__custom', 74, 'custom', '# Seats', 'numeric', '2026-11-26 20:57:45.678074+00', '2026-11-26 20:57:45.751354+00', 'text'),
	('planhat', 'tasks', 'planhat__id', 0, 'property', '_id', 'text', '2026-11-26 20:57:45.761706+00', NULL, NULL),
	('planhat', 'products', 'planhat__id', 0, 'property', '_id', 'text', '2026-11-26 20:57:45.780914+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__id', 0, 'property', '_id', 'text', '2026-11-26 20:57:45.76982+00', NULL, NULL),
	('planhat', 'products', 'planhat__arr', 1, 'property', 'arr', 'numeric', '2026-11-26 20:57:45.787147+00', NULL, NULL),
	('planhat', 'products', 'planhat__auto_renews', 2, 'property', 'autoRenews', 'boolean', '2026-11-26 20:57:45.787147+00', NULL, NULL),
	('planhat', 'products', 'planhat__color', 3, 'property', 'color', 'text', '2026-11-26 20:57:45.787147+00', NULL, NULL),
	('planhat', 'products', 'planhat__created_at', 4, 'property', 'createdAt', 'timestamptz', '2026-11-26 20:57:45.787147+00', NULL, NULL),
	('planhat', 'products', 'planhat__currency', 5, 'property', 'currency', 'text', '2026-11-26 20:57:45.787147+00', NULL, NULL),
	('planhat', 'products', 'planhat__external_id', 6, 'property', 'externalId', 'text', '2026-11-26 20:57:45.787147+00', NULL, NULL),
	('planhat', 'products', 'planhat__fixed_period', 7, 'property', 'fixedPeriod', 'boolean', '2026-11-26 20:57:45.787147+00', NULL, NULL),
	('planhat', 'products', 'planhat__length', 8, 'property', 'length', 'numeric', '2026-11-26 20:57:45.787147+00', NULL, NULL),
	('planhat', 'products', 'planhat__mrr', 9, 'property', 'mrr', 'numeric', '2026-11-26 20:57:45.787147+00', NULL, NULL),
	('planhat', 'products', 'planhat__name', 10, 'property', 'name', 'text', '2026-11-26 20:57:45.787147+00', NULL, NULL),
	('planhat', 'products', 'planhat__notice_period', 11, 'property', 'noticePeriod', 'numeric', '2026-11-26 20:57:45.787147+00', NULL, NULL),
	('planhat', 'products', 'planhat__notice_unit', 12, 'property', 'noticeUnit', 'text', '2026-11-26 20:57:45.787147+00', NULL, NULL),
	('planhat', 'products', 'planhat__packages', 13, 'property', 'packages', 'jsonb', '2026-11-26 20:57:45.787147+00', NULL, NULL),
	('planhat', 'products', 'planhat__renewal_period', 14, 'property', 'renewalPeriod', 'numeric', '2026-11-26 20:57:45.787147+00', NULL, NULL),
	('planhat', 'products', 'planhat__type', 15, 'property', 'type', 'text', '2026-11-26 20:57:45.787147+00', NULL, NULL),
	('planhat', 'products', 'planhat__updated_at', 16, 'property', 'updatedAt', 'timestamptz', '2026-11-26 20:57:45.787147+00', NULL, NULL),
	('planhat', 'products', 'planhat__value', 17, 'property', 'value', 'numeric', '2026-11-26 20:57:45.787147+00', NULL, NULL),
	('planhat', 'products', 'planhat__kostenstelle__custom', 18, 'custom', 'Kostenstelle', 'text', '2026-11-26 20:57:45.787147+00', NULL, NULL),
	('planhat', 'tasks', 'planhat__action', 1, 'property', 'action', 'text', '2026-11-26 20:57:45.781024+00', NULL, NULL),
	('planhat', 'tasks', 'planhat__activity_tags', 2, 'property', 'activityTags', 'jsonb', '2026-11-26 20:57:45.781024+00', NULL, NULL),
	('planhat', 'tasks', 'planhat__checklist', 3, 'property', 'checklist', 'jsonb', '2026-11-26 20:57:45.781024+00', NULL, NULL),
	('planhat', 'tasks', 'planhat__company_id', 4, 'property', 'companyId', 'text', '2026-11-26 20:57:45.781024+00', NULL, NULL),
	('planhat', 'tasks', 'planhat__company_name', 5, 'property', 'companyName', 'text', '2026-11-26 20:57:45.781024+00', NULL, NULL),
	('planhat', 'tasks', 'planhat__created_at', 6, 'property', 'createdAt', 'timestamptz', '2026-11-26 20:57:45.781024+00', NULL, NULL),
	('planhat', 'tasks', 'planhat__end_time', 7, 'property', 'endTime', 'timestamptz', '2026-11-26 20:57:45.781024+00', NULL, NULL),
	('planhat', 'tasks', 'planhat__endusers', 8, 'property', 'endusers', 'jsonb', '2026-11-26 20:57:45.781024+00', NULL, NULL),
	('planhat', 'tasks', 'planhat__is_archived', 9, 'property', 'isArchived', 'boolean', '2026-11-26 20:57:45.781024+00', NULL, NULL),
	('planhat', 'tasks', 'planhat__main_type', 10, 'property', 'mainType', 'text', '2026-11-26 20:57:45.781024+00', NULL, NULL),
	('planhat', 'tasks', 'planhat__no_specific_time', 11, 'property', 'noSpecificTime', 'boolean', '2026-11-26 20:57:45.781024+00', NULL, NULL),
	('planhat', 'tasks', 'planhat__owner_id', 12, 'property', 'ownerId', 'text', '2026-11-26 20:57:45.781024+00', NULL, NULL),
	('planhat', 'tasks', 'planhat__owner_name', 13, 'property', 'ownerName', 'text', '2026-11-26 20:57:45.781024+00', NULL, NULL),
	('planhat', 'tasks', 'planhat__repeat', 14, 'property', 'repeat', 'text', '2026-11-26 20:57:45.781024+00', NULL, NULL),
	('planhat', 'tasks', 'planhat__repeat_days', 15, 'property', 'repeatDays', 'numeric', '2026-11-26 20:57:45.781024+00', NULL, NULL),
	('planhat', 'tasks', 'planhat__start_time', 16, 'property', 'startTime', 'timestamptz', '2026-11-26 20:57:45.781024+00', NULL, NULL),
	('planhat', 'tasks', 'planhat__status', 17, 'property', 'status', 'text', '2026-11-26 20:57:45.781024+00', NULL, NULL),
	('planhat', 'tasks', 'planhat__type', 18, 'property', 'type', 'text', '2026-11-26 20:57:45.781024+00', NULL, NULL),
	('planhat', 'tasks', 'planhat__updated_at', 19, 'property', 'updatedAt', 'timestamptz', '2026-11-26 20:57:45.781024+00', NULL, NULL),
	('planhat', 'tasks', 'planhat__workflow_name', 20, 'property', 'workflowName', 'jsonb', '2026-11-26 20:57:45.781024+00', NULL, NULL),
	('planhat', 'tasks', 'planhat__effort__custom', 21, 'custom', 'Effort', 'numeric', '2026-11-26 20:57:45.781024+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__v', 1, 'property', '__v', 'numeric', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__activity_tags', 2, 'property', 'activityTags', 'jsonb', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__archived', 3, 'property', 'archived', 'boolean', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__auto_tags', 4, 'property', 'autoTags', 'jsonb', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__company_id', 5, 'property', 'companyId', 'text', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__company_name', 6, 'property', 'companyName', 'text', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__create_date', 7, 'property', 'createDate', 'timestamptz', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__created_at', 8, 'property', 'createdAt', 'timestamptz', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__date', 9, 'property', 'date', 'timestamptz', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__days', 10, 'property', 'days', 'numeric', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__description', 11, 'property', 'description', 'text', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__email', 12, 'property', 'email', 'text', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__email_template_ids', 13, 'property', 'emailTemplateIds', 'jsonb', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__end_date', 14, 'property', 'endDate', 'timestamptz', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__endusers', 15, 'property', 'endusers', 'jsonb', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__external_id', 16, 'property', 'externalId', 'text', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__followers', 17, 'property', 'followers', 'jsonb', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__has_attachments', 18, 'property', 'hasAttachments', 'boolean', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__has_more', 19, 'property', 'hasMore', 'boolean', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__history', 20, 'property', 'history', 'jsonb', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__in_date', 21, 'property', 'inDate', 'timestamptz', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__is_bounced', 22, 'property', 'isBounced', 'boolean', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__is_custom_type', 23, 'property', 'isCustomType', 'boolean', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__is_open', 24, 'property', 'isOpen', 'boolean', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__is_seen', 25, 'property', 'isSeen', 'boolean', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__note', 26, 'property', 'note', 'text', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__number_of_parts', 27, 'property', 'numberOfParts', 'numeric', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__number_of_relevant_parts', 28, 'property', 'numberOfRelevantParts', 'numeric', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__out_date', 29, 'property', 'outDate', 'timestamptz', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__pinned', 30, 'property', 'pinned', 'boolean', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__scheduled', 31, 'property', 'scheduled', 'boolean', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__sender', 32, 'property', 'sender', 'jsonb', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__severity', 33, 'property', 'severity', 'text', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__snippet', 34, 'property', 'snippet', 'text', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__source', 35, 'property', 'source', 'text', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__starred', 36, 'property', 'starred', 'boolean', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__start_date', 37, 'property', 'startDate', 'timestamptz', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__status', 38, 'property', 'status', 'text', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__subject', 39, 'property', 'subject', 'text', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__tags', 40, 'property', 'tags', 'jsonb', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__task_id', 41, 'property', 'taskId', 'text', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__time_bucket', 42, 'property', 'timeBucket', 'jsonb', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__transcript', 43, 'property', 'transcript', 'text', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__type', 44, 'property', 'type', 'text', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__updated_at', 45, 'property', 'updatedAt', 'timestamptz', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__url', 46, 'property', 'url', 'text', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__user_ids', 47, 'property', 'userIds', 'jsonb', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__users', 48, 'property', 'users', 'jsonb', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__attendees__custom', 49, 'custom', 'Attendees', 'numeric', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__priority__custom', 50, 'custom', 'Priority #', 'numeric', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__rating__custom', 51, 'custom', 'Rating', 'numeric', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__reopened_on__custom', 52, 'custom', 'Reopened on', 'timestamptz', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__sentiment__custom', 53, 'custom', 'Sentiment', 'text', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'conversations', 'planhat__topics__custom', 54, 'custom', 'Topics', 'jsonb', '2026-11-26 20:57:45.807775+00', NULL, NULL),
	('planhat', 'tasks', 'planhat__v', 22, 'property', '__v', 'numeric', '2026-11-26 20:57:45.817603+00', NULL, NULL),
	('planhat', 'tasks', 'planhat__date_done', 23, 'property', 'dateDone', 'timestamptz', '2026-11-26 20:57:45.817603+00', NULL, NULL),
	('planhat', 'tasks', 'planhat__description', 24, 'property', 'description', 'text', '2026-11-26 20:57:45.817603+00', NULL, NULL),
	('planhat', 'tasks', 'planhat__done_by', 25, 'property', 'doneBy', 'jsonb', '2026-11-26 20:57:45.817603+00', NULL, NULL),
	('planhat', 'tasks', 'planhat__note_id', 26, 'property', 'noteId', 'jsonb', '2026-11-26 20:57:45.817603+00', NULL, NULL),
	('planhat', 'tasks', 'planhat__overdue_notified', 27, 'property', 'overdueNotified', 'boolean', '2026-11-26 20:57:45.817603+00', NULL, NULL),
	('planhat', 'tasks', 'planhat__owner_type', 28, 'property', 'ownerType', 'text', '2026-11-26 20:57:45.817603+00', NULL, NULL),
	('planhat', 'tasks', 'planhat__shared', 29, 'property', 'shared', 'boolean', '2026-11-26 20:57:45.817603+00', NULL, NULL),
	('planhat', 'tasks', 'planhat__snippet', 30, 'property', 'snippet', 'text', '2026-11-26 20:57:45.817603+00', NULL, NULL),
	('planhat', 'tasks', 'planhat__users', 31, 'property', 'users', 'jsonb', '2026-11-26 20:57:45.817603+00', NULL, NULL);


--
-- Data for Name: consumers; Type: TABLE DATA; Schema: planhat_sync; Owner: -
--

INSERT INTO planhat_sync.consumers VALUES
	('planhat', 'warehouse', 35, '2026-11-26 20:57:51.237335+00');


--
-- Data for Name: cursors; Type: TABLE DATA; Schema: planhat_sync; Owner: -
--

INSERT INTO planhat_sync.cursors VALUES
	('planhat', 'endusers', '2026-11-20 16:45:12.003+00', '2026-11-26 20:57:50+00', '2026-11-26 20:57:50.798069+00'),
	('planhat', 'companies', '2026-11-20 16:45:12.003+00', '2026-11-26 20:57:50+00', '2026-11-26 20:57:50.801447+00'),
	('planhat', 'products', '2026-08-01 07:00:00+00', '2026-11-26 20:57:50+00', '2026-11-26 20:57:50.853748+00'),
	('planhat', 'conversations', '2026-11-15 18:20:00.5+00', '2026-11-26 20:57:50+00', '2026-11-26 20:57:50.895416+00'),
	('planhat', 'tasks', '2026-11-16 09:00:00+00', '2026-11-26 20:57:50+00', '2026-11-26 20:57:50.945829+00'),
	('planhat', 'licenses', '2026-11-26 20:57:50+00', '2026-11-26 20:57:50+00', '2026-11-26 20:57:50.949129+00');


--
-- Data for Name: daemons; Type: TABLE DATA; Schema: planhat_sync; Owner: -
--



--
-- Data for Name: leases; Type: TABLE DATA; Schema: planhat_sync; Owner: -
--



--
-- Data for Name: listed_ids; Type: TABLE DATA; Schema: planhat_sync; Owner: -
--

INSERT INTO planhat_sync.listed_ids OVERRIDING SYSTEM VALUE VALUES
	(7, 'planhat', 'tasks', '{607e8a00b3a1000000000706,69a7e680b3a1000000000703}');


--
-- Data for Name: migrations; Type: TABLE DATA; Schema: planhat_sync; Owner: -
--

INSERT INTO planhat_sync.migrations VALUES
	(1, 'baseline', '2026-11-26 20:57:45.539952+00', true, '\xc1bda99e81e6415958f5532cf6d8206536a88a611a2aa9aea239bfab22a8d0746cb45ad54362bae1fd0f37b9343796a7', 32374466);


--
-- Data for Name: notifications; Type: TABLE DATA; Schema: planhat_sync; Owner: -
--

INSERT INTO planhat_sync.notifications OVERRIDING SYSTEM VALUE VALUES
	(1, 'planhat', 'msg_2362fbcada798ad6930670d6251e7a1e', 'sync.partial', '{"type":"sync.partial","timestamp":"2026-11-26T20:57:45.849195431Z","workspace":"planhat","host":"127.0.0.1","data":{"run_id":1,"command":"sync","status":"partial","seconds":0.267,"reason":"products: 1 record of products could not be stored: 1 × no _id","hint":"`planhat-sync quarantine` shows why","objects":[{"object":"products","status":"partial","reason":"1 record of products could not be stored: 1 × no _id","hint":"`planhat-sync quarantine` shows why"}]}}', '2026-11-26 20:57:45.84718+00', 3, '2026-11-26 20:58:23.214225+00', NULL, NULL, NULL, 'error sending request: client error (Connect): tcp connect error: Connection refused (os error 111)');


--
-- Data for Name: object_runs; Type: TABLE DATA; Schema: planhat_sync; Owner: -
--

INSERT INTO planhat_sync.object_runs VALUES
	(1, 'companies', 'history', 'succeeded', NULL, NULL, '2026-11-26 20:57:45.658507+00', '2026-11-26 20:57:45.749605+00', 8, 0, 7, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 2, '2026-11-20 16:45:12.003+00', '2026-04-02 07:00:00+00'),
	(1, 'licenses', 'history', 'succeeded', NULL, NULL, '2026-11-26 20:57:45.658861+00', '2026-11-26 20:57:45.765337+00', 6, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, '2026-11-26 20:57:45+00', NULL),
	(1, 'endusers', 'history', 'succeeded', NULL, NULL, '2026-11-26 20:57:45.658701+00', '2026-11-26 20:57:45.771719+00', 8, 6, 7, 0, 0, 0, 0, 1, 1, 0, 0, 0, 2, 4, '2026-11-20 16:45:12.003+00', '2025-05-23 10:00:00.003+00'),
	(1, 'products', 'history', 'partial', '1 record of products could not be stored: 1 × no _id', '`planhat-sync quarantine` shows why', '2026-11-26 20:57:45.776743+00', '2026-11-26 20:57:45.818401+00', 4, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, '2026-08-01 07:00:00+00', '2025-02-05 07:00:00+00'),
	(1, 'conversations', 'history', 'succeeded', NULL, NULL, '2026-11-26 20:57:45.753992+00', '2026-11-26 20:57:45.832321+00', 6, 0, 5, 0, 0, 0, 0, 1, 0, 0, 2, 0, 1, 2, '2026-11-15 18:20:00.5+00', '2025-12-18 16:21:00+00'),
	(1, 'tasks', 'history', 'succeeded', NULL, NULL, '2026-11-26 20:57:45.659037+00', '2026-11-26 20:57:45.83709+00', 6, 0, 5, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2, 4, '2026-11-16 09:00:00+00', '2025-10-20 10:00:00+00'),
	(2, 'endusers', 'full', 'succeeded', NULL, NULL, '2026-11-26 20:57:50.69532+00', '2026-11-26 20:57:50.80448+00', 8, 6, 0, 0, 0, 0, 7, 1, 1, 0, 0, 0, 2, 4, '2026-11-20 16:45:12.003+00', '2025-05-23 10:00:00.003+00'),
	(2, 'companies', 'full', 'succeeded', NULL, NULL, '2026-11-26 20:57:50.695086+00', '2026-11-26 20:57:50.815+00', 8, 0, 0, 1, 0, 0, 6, 1, 1, 0, 0, 0, 1, 2, '2026-11-20 16:45:12.003+00', '2026-04-02 07:00:00+00'),
	(2, 'products', 'full', 'partial', '1 record of products could not be stored: 1 × no _id', '`planhat-sync quarantine` shows why', '2026-11-26 20:57:50.826399+00', '2026-11-26 20:57:50.863259+00', 4, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 1, 1, 2, '2026-08-01 07:00:00+00', '2025-02-05 07:00:00+00'),
	(2, 'conversations', 'full', 'succeeded', NULL, NULL, '2026-11-26 20:57:50.821496+00', '2026-11-26 20:57:50.899574+00', 6, 0, 0, 0, 0, 0, 5, 1, 0, 0, 2, 0, 1, 2, '2026-11-15 18:20:00.5+00', '2025-12-18 16:21:00+00'),
	(2, 'licenses', 'full', 'succeeded', NULL, NULL, '2026-11-26 20:57:50.695354+00', '2026-11-26 20:57:50.951201+00', 5, 0, 0, 0, 0, 1, 5, 0, 0, 0, 0, 0, 1, 6, '2026-11-26 20:57:50+00', NULL),
	(2, 'tasks', 'full', 'succeeded', NULL, NULL, '2026-11-26 20:57:50.695524+00', '2026-11-26 20:57:50.962614+00', 6, 0, 0, 0, 0, 0, 5, 1, 0, 0, 0, 0, 2, 4, '2026-11-16 09:00:00+00', '2025-10-20 10:00:00+00'),
	(3, 'tasks', 'full', 'interrupted', NULL, NULL, '2026-11-26 20:58:20.12974+00', '2026-11-26 20:58:23.538808+00', 2, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1, NULL, '2026-11-16 09:00:00+00');


--
-- Data for Name: object_states; Type: TABLE DATA; Schema: planhat_sync; Owner: -
--

INSERT INTO planhat_sync.object_states VALUES
	('planhat', 'endusers', 2, 'succeeded', NULL, NULL, '2026-11-26 20:57:50.80448+00', '2026-11-26 20:57:50.80448+00', 2, '2026-11-26 20:57:50.80448+00'),
	('planhat', 'companies', 2, 'succeeded', NULL, NULL, '2026-11-26 20:57:50.815+00', '2026-11-26 20:57:50.815+00', 2, '2026-11-26 20:57:50.815+00'),
	('planhat', 'products', 2, 'partial', '1 record of products could not be stored: 1 × no _id', '`planhat-sync quarantine` shows why', '2026-11-26 20:57:50.863259+00', '2026-11-26 20:57:50.863259+00', 2, '2026-11-26 20:57:50.863259+00'),
	('planhat', 'conversations', 2, 'succeeded', NULL, NULL, '2026-11-26 20:57:50.899574+00', '2026-11-26 20:57:50.899574+00', 2, '2026-11-26 20:57:50.899574+00'),
	('planhat', 'licenses', 2, 'succeeded', NULL, NULL, '2026-11-26 20:57:50.951201+00', '2026-11-26 20:57:50.951201+00', 2, '2026-11-26 20:57:50.951201+00'),
	('planhat', 'tasks', 3, 'interrupted', NULL, NULL, '2026-11-26 20:58:23.538808+00', '2026-11-26 20:57:50.962614+00', 2, '2026-11-26 20:58:23.538808+00');


--
-- Data for Name: quarantine; Type: TABLE DATA; Schema: planhat_sync; Owner: -
--

INSERT INTO planhat_sync.quarantine OVERRIDING SYSTEM VALUE VALUES
	(1, 'planhat', 'products', 2, NULL, 'no _id', NULL, '{"name":"A product without an id","price":7}', 2484071652120448945, '2026-11-26 20:57:45.799225+00', DEFAULT);


--
-- Data for Name: runs; Type: TABLE DATA; Schema: planhat_sync; Owner: -
--

INSERT INTO planhat_sync.runs OVERRIDING SYSTEM VALUE VALUES
	(1, 'planhat', 'sync', 'partial', '0.1.0', '2026-11-26 20:57:45.647933+00', '2026-11-26 20:57:45.839149+00', '1 record of products could not be stored: 1 × no _id', '`planhat-sync quarantine` shows why', 18),
	(2, 'planhat', 'sync', 'partial', '0.1.0', '2026-11-26 20:57:50.677565+00', '2026-11-26 20:57:50.974861+00', '1 record of products could not be stored: 1 × no _id', '`planhat-sync quarantine` shows why', 22),
	(3, 'planhat', 'sync', 'interrupted', '0.1.0', '2026-11-26 20:57:51.684552+00', '2026-11-26 20:58:23.646198+00', 'it was stopped by a signal', 'everything committed is kept; the next run goes on from there', 11);


--
-- Data for Name: scans; Type: TABLE DATA; Schema: planhat_sync; Owner: -
--

INSERT INTO planhat_sync.scans VALUES
	('planhat', 'tasks', 'full', '2026-11-26 20:57:51.335412+00', '2022-11-26 20:57:51.335412+00', NULL, '_id', 1, '69a7e680b3a1000000000703', '2026-11-16 09:00:00+00', NULL, 1);


--
-- Data for Name: workspaces; Type: TABLE DATA; Schema: planhat_sync; Owner: -
--

INSERT INTO planhat_sync.workspaces VALUES
	('planhat', '4d52bbcd-7dad-41cb-ba19-666c57316d37', '044eef0af89f110f773b242de9ec47c4b0f37c6e017eb789fcf8bebd2a88efae', 'http://127.0.0.1:34197', '2026-11-26 20:57:50.687375+00', 'stored records');


--
-- Name: actions_id_seq; Type: SEQUENCE SET; Schema: planhat; Owner: -
--

SELECT pg_catalog.setval('planhat.actions_id_seq', 35, true);


--
-- Name: listed_ids_id_seq; Type: SEQUENCE SET; Schema: planhat_sync; Owner: -
--

SELECT pg_catalog.setval('planhat_sync.listed_ids_id_seq', 7, true);


--
-- Name: notifications_id_seq; Type: SEQUENCE SET; Schema: planhat_sync; Owner: -
--

SELECT pg_catalog.setval('planhat_sync.notifications_id_seq', 1, true);


--
-- Name: quarantine_id_seq; Type: SEQUENCE SET; Schema: planhat_sync; Owner: -
--

SELECT pg_catalog.setval('planhat_sync.quarantine_id_seq', 2, true);


--
-- Name: runs_id_seq; Type: SEQUENCE SET; Schema: planhat_sync; Owner: -
--

SELECT pg_catalog.setval('planhat_sync.runs_id_seq', 3, true);


--
-- Name: actions actions_pkey; Type: CONSTRAINT; Schema: planhat; Owner: -
--

ALTER TABLE ONLY planhat.actions
    ADD CONSTRAINT actions_pkey PRIMARY KEY (id);


--
-- Name: companies companies_pkey; Type: CONSTRAINT; Schema: planhat; Owner: -
--

ALTER TABLE ONLY planhat.companies
    ADD CONSTRAINT companies_pkey PRIMARY KEY (planhat__id);


--
-- Name: conversations conversations_pkey; Type: CONSTRAINT; Schema: planhat; Owner: -
--

ALTER TABLE ONLY planhat.conversations
    ADD CONSTRAINT conversations_pkey PRIMARY KEY (planhat__id);


--
-- Name: endusers endusers_pkey; Type: CONSTRAINT; Schema: planhat; Owner: -
--

ALTER TABLE ONLY planhat.endusers
    ADD CONSTRAINT endusers_pkey PRIMARY KEY (planhat__id);


--
-- Name: licenses licenses_pkey; Type: CONSTRAINT; Schema: planhat; Owner: -
--

ALTER TABLE ONLY planhat.licenses
    ADD CONSTRAINT licenses_pkey PRIMARY KEY (planhat__id);


--
-- Name: products products_pkey; Type: CONSTRAINT; Schema: planhat; Owner: -
--

ALTER TABLE ONLY planhat.products
    ADD CONSTRAINT products_pkey PRIMARY KEY (planhat__id);


--
-- Name: tasks tasks_pkey; Type: CONSTRAINT; Schema: planhat; Owner: -
--

ALTER TABLE ONLY planhat.tasks
    ADD CONSTRAINT tasks_pkey PRIMARY KEY (planhat__id);


--
-- Name: announced_states announced_states_pkey; Type: CONSTRAINT; Schema: planhat_sync; Owner: -
--

ALTER TABLE ONLY planhat_sync.announced_states
    ADD CONSTRAINT announced_states_pkey PRIMARY KEY (workspace);


--
-- Name: columns columns_pkey; Type: CONSTRAINT; Schema: planhat_sync; Owner: -
--

ALTER TABLE ONLY planhat_sync.columns
    ADD CONSTRAINT columns_pkey PRIMARY KEY (workspace, object, column_name);


--
-- Name: columns columns_workspace_object_origin_planhat_name_key; Type: CONSTRAINT; Schema: planhat_sync; Owner: -
--

ALTER TABLE ONLY planhat_sync.columns
    ADD CONSTRAINT columns_workspace_object_origin_planhat_name_key UNIQUE (workspace, object, origin, planhat_name);


--
-- Name: consumers consumers_pkey; Type: CONSTRAINT; Schema: planhat_sync; Owner: -
--

ALTER TABLE ONLY planhat_sync.consumers
    ADD CONSTRAINT consumers_pkey PRIMARY KEY (workspace, name);


--
-- Name: cursors cursors_pkey; Type: CONSTRAINT; Schema: planhat_sync; Owner: -
--

ALTER TABLE ONLY planhat_sync.cursors
    ADD CONSTRAINT cursors_pkey PRIMARY KEY (workspace, object);


--
-- Name: daemons daemons_pkey; Type: CONSTRAINT; Schema: planhat_sync; Owner: -
--

ALTER TABLE ONLY planhat_sync.daemons
    ADD CONSTRAINT daemons_pkey PRIMARY KEY (workspace);


--
-- Name: leases leases_pkey; Type: CONSTRAINT; Schema: planhat_sync; Owner: -
--

ALTER TABLE ONLY planhat_sync.leases
    ADD CONSTRAINT leases_pkey PRIMARY KEY (workspace);


--
-- Name: listed_ids listed_ids_pkey; Type: CONSTRAINT; Schema: planhat_sync; Owner: -
--

ALTER TABLE ONLY planhat_sync.listed_ids
    ADD CONSTRAINT listed_ids_pkey PRIMARY KEY (id);


--
-- Name: migrations migrations_pkey; Type: CONSTRAINT; Schema: planhat_sync; Owner: -
--

ALTER TABLE ONLY planhat_sync.migrations
    ADD CONSTRAINT migrations_pkey PRIMARY KEY (version);


--
-- Name: notifications notifications_event_id_key; Type: CONSTRAINT; Schema: planhat_sync; Owner: -
--

ALTER TABLE ONLY planhat_sync.notifications
    ADD CONSTRAINT notifications_event_id_key UNIQUE (event_id);


--
-- Name: notifications notifications_pkey; Type: CONSTRAINT; Schema: planhat_sync; Owner: -
--

ALTER TABLE ONLY planhat_sync.notifications
    ADD CONSTRAINT notifications_pkey PRIMARY KEY (id);


--
-- Name: object_runs object_runs_pkey; Type: CONSTRAINT; Schema: planhat_sync; Owner: -
--

ALTER TABLE ONLY planhat_sync.object_runs
    ADD CONSTRAINT object_runs_pkey PRIMARY KEY (run_id, object);


--
-- Name: object_states object_states_pkey; Type: CONSTRAINT; Schema: planhat_sync; Owner: -
--

ALTER TABLE ONLY planhat_sync.object_states
    ADD CONSTRAINT object_states_pkey PRIMARY KEY (workspace, object);


--
-- Name: quarantine quarantine_identity; Type: CONSTRAINT; Schema: planhat_sync; Owner: -
--

ALTER TABLE ONLY planhat_sync.quarantine
    ADD CONSTRAINT quarantine_identity UNIQUE (workspace, object, identity);


--
-- Name: quarantine quarantine_pkey; Type: CONSTRAINT; Schema: planhat_sync; Owner: -
--

ALTER TABLE ONLY planhat_sync.quarantine
    ADD CONSTRAINT quarantine_pkey PRIMARY KEY (id);


--
-- Name: runs runs_pkey; Type: CONSTRAINT; Schema: planhat_sync; Owner: -
--

ALTER TABLE ONLY planhat_sync.runs
    ADD CONSTRAINT runs_pkey PRIMARY KEY (id);


--
-- Name: scans scans_pkey; Type: CONSTRAINT; Schema: planhat_sync; Owner: -
--

ALTER TABLE ONLY planhat_sync.scans
    ADD CONSTRAINT scans_pkey PRIMARY KEY (workspace, object, scan);


--
-- Name: workspaces workspaces_pkey; Type: CONSTRAINT; Schema: planhat_sync; Owner: -
--

ALTER TABLE ONLY planhat_sync.workspaces
    ADD CONSTRAINT workspaces_pkey PRIMARY KEY (workspace);


--
-- Name: actions_company_id_happened_at_id_idx; Type: INDEX; Schema: planhat; Owner: -
--

CREATE INDEX actions_company_id_happened_at_id_idx ON planhat.actions USING btree (company_id, happened_at DESC, id DESC);


--
-- Name: actions_happened_at_id_idx; Type: INDEX; Schema: planhat; Owner: -
--

CREATE INDEX actions_happened_at_id_idx ON planhat.actions USING btree (happened_at, id);


--
-- Name: actions_object_record_id_id_idx; Type: INDEX; Schema: planhat; Owner: -
--

CREATE INDEX actions_object_record_id_id_idx ON planhat.actions USING btree (object, record_id, id);


--
-- Name: actions_seen_at_id_idx; Type: INDEX; Schema: planhat; Owner: -
--

CREATE INDEX actions_seen_at_id_idx ON planhat.actions USING btree (seen_at, id);


--
-- Name: listed_ids_workspace_object_idx; Type: INDEX; Schema: planhat_sync; Owner: -
--

CREATE INDEX listed_ids_workspace_object_idx ON planhat_sync.listed_ids USING btree (workspace, object);


--
-- Name: notifications_workspace_id_idx; Type: INDEX; Schema: planhat_sync; Owner: -
--

CREATE INDEX notifications_workspace_id_idx ON planhat_sync.notifications USING btree (workspace, id) WHERE (next_attempt_at IS NOT NULL);


--
-- Name: quarantine_run_id_idx; Type: INDEX; Schema: planhat_sync; Owner: -
--

CREATE INDEX quarantine_run_id_idx ON planhat_sync.quarantine USING btree (run_id);


--
-- Name: runs_workspace_id_idx; Type: INDEX; Schema: planhat_sync; Owner: -
--

CREATE INDEX runs_workspace_id_idx ON planhat_sync.runs USING btree (workspace, id DESC);


--
-- Name: leases leases_run_id_fkey; Type: FK CONSTRAINT; Schema: planhat_sync; Owner: -
--

ALTER TABLE ONLY planhat_sync.leases
    ADD CONSTRAINT leases_run_id_fkey FOREIGN KEY (run_id) REFERENCES planhat_sync.runs(id) ON DELETE CASCADE;


--
-- Name: object_runs object_runs_run_id_fkey; Type: FK CONSTRAINT; Schema: planhat_sync; Owner: -
--

ALTER TABLE ONLY planhat_sync.object_runs
    ADD CONSTRAINT object_runs_run_id_fkey FOREIGN KEY (run_id) REFERENCES planhat_sync.runs(id) ON DELETE CASCADE;


--
-- Name: quarantine quarantine_run_id_fkey; Type: FK CONSTRAINT; Schema: planhat_sync; Owner: -
--

ALTER TABLE ONLY planhat_sync.quarantine
    ADD CONSTRAINT quarantine_run_id_fkey FOREIGN KEY (run_id) REFERENCES planhat_sync.runs(id) ON DELETE SET NULL;


--
-- PostgreSQL database dump complete
--



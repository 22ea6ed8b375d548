-- Until when Planhat wants no calls of the workspace's token, because it answered 429 with Retry-After. A run that is killed, or
-- ends, leaves this to the next one, which does not know of the answer otherwise.
--
-- Only adds: a nullable column that the previous release does not read.

alter table planhat_sync.workspaces add column throttled_until timestamptz;
comment on column planhat_sync.workspaces.throttled_until is 'until when Planhat wants no calls, as it said in its last 429 with Retry-After, two minutes at most; null if it never did; a time in the past means nothing';

CREATE TABLE budgets (
	scope TEXT NOT NULL, 
	key TEXT NOT NULL, 
	cap BIGINT, 
	reserved BIGINT NOT NULL, 
	settled BIGINT NOT NULL, 
	estimated BIGINT NOT NULL, 
	PRIMARY KEY (scope, key)
);
CREATE TABLE files (
	path TEXT NOT NULL, 
	size BIGINT NOT NULL, 
	mtime_ns BIGINT NOT NULL, 
	inode BIGINT NOT NULL, 
	sha256 TEXT NOT NULL, 
	mime TEXT NOT NULL, 
	PRIMARY KEY (path)
);
CREATE TABLE history (
	seq BIGSERIAL NOT NULL, 
	at TEXT NOT NULL, 
	subject TEXT NOT NULL, 
	subject_seq BIGINT NOT NULL, 
	job_seq BIGINT, 
	run_seq BIGINT, 
	was TEXT, 
	became TEXT, 
	event TEXT NOT NULL, 
	reason TEXT, 
	request_id TEXT, 
	PRIMARY KEY (seq)
);
CREATE TABLE lanes (
	account TEXT NOT NULL, 
	holder TEXT, 
	epoch BIGINT DEFAULT 0 NOT NULL, 
	expires_at TEXT, 
	skew_us BIGINT, 
	PRIMARY KEY (account)
);
CREATE TABLE ledger_version (
	version INTEGER NOT NULL, 
	dataset TEXT NOT NULL
);
CREATE TABLE manifests (
	seq BIGSERIAL NOT NULL, 
	identity TEXT NOT NULL, 
	path TEXT, 
	bytes BIGINT, 
	model TEXT NOT NULL, 
	settings_json TEXT NOT NULL, 
	rows BIGINT DEFAULT 0 NOT NULL, 
	invalid_rows BIGINT DEFAULT 0 NOT NULL, 
	first_seen_at TEXT NOT NULL, 
	imported_at TEXT, 
	listed INTEGER DEFAULT 0 NOT NULL, 
	PRIMARY KEY (seq), 
	UNIQUE (identity)
);
CREATE TABLE uploads (
	sha256 TEXT NOT NULL, 
	file_id TEXT, 
	url TEXT NOT NULL, 
	bytes BIGINT NOT NULL, 
	mime TEXT NOT NULL, 
	key_fingerprint TEXT NOT NULL, 
	uploaded_at TEXT NOT NULL, 
	expires_at TEXT, 
	used_at TEXT, 
	PRIMARY KEY (sha256)
);
CREATE TABLE jobs (
	seq BIGSERIAL NOT NULL, 
	id BYTEA NOT NULL, 
	model TEXT NOT NULL, 
	input_json TEXT NOT NULL, 
	repeat INTEGER DEFAULT 0 NOT NULL, 
	outputs_wanted INTEGER DEFAULT 1 NOT NULL, 
	control_sha256 TEXT, 
	control_path TEXT, 
	state TEXT NOT NULL, 
	failure TEXT, 
	reason TEXT, 
	attempts_json TEXT, 
	predictions INTEGER DEFAULT 0 NOT NULL, 
	reseed INTEGER DEFAULT 0 NOT NULL, 
	listed_in BIGINT, 
	priority INTEGER DEFAULT 0 NOT NULL, 
	position BIGINT DEFAULT 0 NOT NULL, 
	not_before TEXT, 
	created_at TEXT NOT NULL, 
	ended_at TEXT, 
	PRIMARY KEY (seq), 
	UNIQUE (id), 
	FOREIGN KEY(listed_in) REFERENCES manifests (seq)
);
CREATE TABLE manifest_files (
	manifest_seq BIGINT NOT NULL, 
	path TEXT NOT NULL, 
	UNIQUE (manifest_seq, path), 
	FOREIGN KEY(manifest_seq) REFERENCES manifests (seq)
);
CREATE TABLE runs (
	seq BIGSERIAL NOT NULL, 
	id TEXT NOT NULL, 
	manifest_seq BIGINT NOT NULL, 
	started_at TEXT NOT NULL, 
	continued_at TEXT, 
	invocations INTEGER DEFAULT 1 NOT NULL, 
	ended_at TEXT, 
	exit_code INTEGER, 
	reason TEXT, 
	settings_json TEXT NOT NULL, 
	tool_version TEXT NOT NULL, 
	host TEXT, 
	pid INTEGER, 
	PRIMARY KEY (seq), 
	UNIQUE (id), 
	FOREIGN KEY(manifest_seq) REFERENCES manifests (seq)
);
CREATE TABLE predictions (
	seq BIGSERIAL NOT NULL, 
	job_seq BIGINT NOT NULL, 
	run_seq BIGINT NOT NULL, 
	attempt INTEGER NOT NULL, 
	provider_id TEXT, 
	state TEXT NOT NULL, 
	at_risk INTEGER DEFAULT 0 NOT NULL, 
	adopted TEXT, 
	account TEXT NOT NULL, 
	key_fingerprint TEXT NOT NULL, 
	key_label TEXT NOT NULL, 
	epoch BIGINT DEFAULT 0 NOT NULL, 
	price BIGINT NOT NULL, 
	reserved BIGINT NOT NULL, 
	cost BIGINT, 
	estimated INTEGER DEFAULT 0 NOT NULL, 
	budget_day TEXT NOT NULL, 
	seed BIGINT, 
	control_url TEXT, 
	boot_id TEXT NOT NULL, 
	intended_at TEXT, 
	intended_boot_us BIGINT, 
	send_by_at TEXT, 
	send_by_boot_us BIGINT, 
	left_at TEXT, 
	left_boot_us BIGINT, 
	answered_at TEXT, 
	answered_boot_us BIGINT, 
	given_up_at TEXT, 
	given_up_boot_us BIGINT, 
	cancel_asked_at TEXT, 
	ended_at TEXT, 
	read_again_at TEXT, 
	run_time_us BIGINT, 
	polls INTEGER DEFAULT 0 NOT NULL, 
	failure TEXT, 
	reason TEXT, 
	request_id TEXT, 
	PRIMARY KEY (seq), 
	UNIQUE (job_seq, attempt), 
	FOREIGN KEY(job_seq) REFERENCES jobs (seq), 
	FOREIGN KEY(run_seq) REFERENCES runs (seq), 
	UNIQUE (provider_id)
);
CREATE TABLE rows (
	manifest_seq BIGINT NOT NULL, 
	number BIGINT NOT NULL, 
	line BIGINT NOT NULL, 
	user_id TEXT, 
	job_seq BIGINT, 
	error TEXT, 
	priority INTEGER DEFAULT 0 NOT NULL, 
	meta_json TEXT, 
	axes_json TEXT, 
	PRIMARY KEY (manifest_seq, number), 
	FOREIGN KEY(manifest_seq) REFERENCES manifests (seq), 
	FOREIGN KEY(job_seq) REFERENCES jobs (seq)
);
CREATE TABLE outputs (
	seq BIGSERIAL NOT NULL, 
	job_seq BIGINT NOT NULL, 
	prediction_seq BIGINT NOT NULL, 
	number INTEGER NOT NULL, 
	state TEXT NOT NULL, 
	url TEXT, 
	path TEXT, 
	sha256 TEXT, 
	file_sha256 TEXT, 
	bytes BIGINT, 
	mime TEXT, 
	width INTEGER, 
	height INTEGER, 
	dhash TEXT, 
	quality_json TEXT, 
	reason TEXT, 
	stored_at TEXT, 
	PRIMARY KEY (seq), 
	UNIQUE (prediction_seq, number), 
	FOREIGN KEY(job_seq) REFERENCES jobs (seq), 
	FOREIGN KEY(prediction_seq) REFERENCES predictions (seq), 
	UNIQUE (path)
);
CREATE INDEX history_of_job ON history (job_seq);
CREATE INDEX jobs_begun ON jobs (listed_in, state) WHERE state != 'pending';
CREATE INDEX jobs_pending ON jobs (listed_in, priority DESC, position) WHERE state = 'pending';
CREATE INDEX predictions_live ON predictions (state) WHERE state IN ('submitting', 'unknown', 'running');
CREATE INDEX rows_of_job ON rows (job_seq);
CREATE INDEX outputs_of_job ON outputs (job_seq);
CREATE INDEX outputs_wanted ON outputs (seq) WHERE state = 'wanted';
CREATE VIEW results AS
SELECT r.manifest_seq AS manifest,
       r.number AS row_number,
       r.line AS line,
       r.user_id AS id,
       CASE WHEN r.job_seq IS NULL THEN 'invalid' ELSE j.state END AS status,
       CAST(REPLACE(j.input_json, '\u0000', '\ufffd') AS json) ->> 'prompt' AS prompt,
       p.seed AS seed,
       j.model AS model,
       j.input_json AS input,
       o.number AS output_number,
       o.path AS path,
       o.sha256 AS sha256,
       o.bytes AS bytes,
       o.mime AS mime,
       o.width AS width,
       o.height AS height,
       p.provider_id AS prediction_id,
       CAST(COALESCE(p.cost, 0) AS numeric) / 1000000 AS cost_usd,
       p.estimated AS cost_is_estimated,
       o.stored_at AS stored_at,
       COALESCE(r.error, j.reason) AS reason,
       r.meta_json AS meta,
       r.axes_json AS axes
FROM rows r
LEFT JOIN jobs j ON j.seq = r.job_seq
LEFT JOIN outputs o ON o.job_seq = j.seq AND o.state = 'stored'
LEFT JOIN predictions p ON p.seq = o.prediction_seq;
CREATE VIEW costs AS
SELECT u.id AS run,
       u.started_at AS started_at,
       u.ended_at AS ended_at,
       SUM(CASE WHEN p.state NOT IN ('unsent', 'refused', 'absent') THEN 1 ELSE 0 END) AS creates,
       SUM(CASE WHEN p.state = 'succeeded' THEN 1 ELSE 0 END) AS succeeded,
       CAST(COALESCE(SUM(CASE WHEN p.estimated = 0 THEN p.cost END), 0) AS numeric) / 1000000 AS settled_usd,
       CAST(COALESCE(SUM(CASE WHEN p.estimated = 1 THEN p.cost END), 0) AS numeric) / 1000000 AS estimated_usd,
       CAST(COALESCE(SUM(p.reserved), 0) AS numeric) / 1000000 AS reserved_usd,
       CAST(COALESCE(SUM(CASE WHEN p.state IN ('errored', 'cancelled', 'timed_out', 'lost') THEN p.cost END), 0) AS numeric) / 1000000 AS spent_on_failures_usd
FROM runs u
LEFT JOIN predictions p ON p.run_seq = u.seq
GROUP BY u.seq, u.id, u.started_at, u.ended_at;
CREATE VIEW failures AS
SELECT r.manifest_seq AS manifest,
       r.number AS row_number,
       r.line AS line,
       r.user_id AS id,
       COALESCE(j.failure, 'invalid') AS failure,
       COALESCE(r.error, j.reason) AS reason,
       CAST(REPLACE(j.input_json, '\u0000', '\ufffd') AS json) ->> 'prompt' AS prompt,
       j.ended_at AS ended_at
FROM rows r
LEFT JOIN jobs j ON j.seq = r.job_seq
WHERE r.job_seq IS NULL OR j.state = 'failed';

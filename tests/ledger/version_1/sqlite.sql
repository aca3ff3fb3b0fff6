BEGIN TRANSACTION;
CREATE TABLE budgets (
	scope TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	cap INTEGER, 
	reserved INTEGER NOT NULL, 
	settled INTEGER NOT NULL, 
	estimated INTEGER NOT NULL, 
	PRIMARY KEY (scope, "key")
);
INSERT INTO "budgets" VALUES('run','20261122-174410-bcb6',NULL,0,125000,0);
INSERT INTO "budgets" VALUES('day','2026-11-22',NULL,0,150000,0);
INSERT INTO "budgets" VALUES('dataset','',NULL,0,150000,0);
INSERT INTO "budgets" VALUES('run','20261122-174435-097e',1000000,0,0,0);
INSERT INTO "budgets" VALUES('run','20261122-174436-2096',NULL,0,0,0);
INSERT INTO "budgets" VALUES('run','20261122-174436-3cd0',NULL,0,25000,0);
CREATE TABLE files (
	path TEXT NOT NULL, 
	size INTEGER NOT NULL, 
	mtime_ns INTEGER NOT NULL, 
	inode INTEGER NOT NULL, 
	sha256 TEXT NOT NULL, 
	mime TEXT NOT NULL, 
	PRIMARY KEY (path)
);
INSERT INTO "files" VALUES('/data/batch/coffee.webp',29240,1795369450764238090,2180865,'a534e2bb130ab90d23e3cee2922c699c1decef7864507d52fdd30b9ff230616d','image/webp');
CREATE TABLE history (
	seq INTEGER NOT NULL, 
	at TEXT NOT NULL, 
	subject TEXT NOT NULL, 
	subject_seq INTEGER NOT NULL, 
	job_seq INTEGER, 
	run_seq INTEGER, 
	was TEXT, 
	became TEXT, 
	event TEXT NOT NULL, 
	reason TEXT, 
	request_id TEXT, 
	PRIMARY KEY (seq)
);
INSERT INTO "history" VALUES(1,'2026-11-22T17:44:10.835636Z','run',1,NULL,1,NULL,'open','started',NULL,NULL);
INSERT INTO "history" VALUES(2,'2026-11-22T17:44:10.878048Z','job',1,1,1,'pending','active','intended',NULL,NULL);
INSERT INTO "history" VALUES(3,'2026-11-22T17:44:10.878048Z','prediction',1,1,1,NULL,'submitting','intent committed',NULL,NULL);
INSERT INTO "history" VALUES(4,'2026-11-22T17:44:10.878218Z','job',2,2,1,'pending','active','intended',NULL,NULL);
INSERT INTO "history" VALUES(5,'2026-11-22T17:44:10.878218Z','prediction',2,2,1,NULL,'submitting','intent committed',NULL,NULL);
INSERT INTO "history" VALUES(6,'2026-11-22T17:44:10.880711Z','job',3,3,1,'pending','active','intended',NULL,NULL);
INSERT INTO "history" VALUES(7,'2026-11-22T17:44:10.880711Z','prediction',3,3,1,NULL,'submitting','intent committed',NULL,NULL);
INSERT INTO "history" VALUES(8,'2026-11-22T17:44:10.880900Z','job',4,4,1,'pending','active','intended',NULL,NULL);
INSERT INTO "history" VALUES(9,'2026-11-22T17:44:10.880900Z','prediction',4,4,1,NULL,'submitting','intent committed',NULL,NULL);
INSERT INTO "history" VALUES(10,'2026-11-22T17:44:10.909646Z','prediction',1,1,1,'submitting','running','accepted',NULL,'5954faea5bdb18f4e9d2d73984ddcd9a');
INSERT INTO "history" VALUES(11,'2026-11-22T17:44:10.909971Z','prediction',2,2,1,'submitting','running','accepted',NULL,'d5e5f421cc8004519c50f24c89a0d2dd');
INSERT INTO "history" VALUES(12,'2026-11-22T17:44:10.913199Z','prediction',3,3,1,'submitting','running','accepted',NULL,'6c84766034f4246c22fba86db61ceade');
INSERT INTO "history" VALUES(13,'2026-11-22T17:44:10.913606Z','prediction',4,4,1,'submitting','running','accepted',NULL,'11e67fd1d4bf37403dfe883296f0e97b');
INSERT INTO "history" VALUES(14,'2026-11-22T17:44:10.927564Z','job',5,5,1,'pending','active','intended',NULL,NULL);
INSERT INTO "history" VALUES(15,'2026-11-22T17:44:10.927564Z','prediction',5,5,1,NULL,'submitting','intent committed',NULL,NULL);
INSERT INTO "history" VALUES(16,'2026-11-22T17:44:10.931751Z','prediction',5,5,1,'submitting','running','accepted',NULL,'5853553bd0d4d751bd0c92213af0b043');
INSERT INTO "history" VALUES(17,'2026-11-22T17:44:11.027173Z','prediction',1,1,1,'running','succeeded','succeeded',NULL,NULL);
INSERT INTO "history" VALUES(18,'2026-11-22T17:44:11.027173Z','job',1,1,1,'active','generated','generated',NULL,NULL);
INSERT INTO "history" VALUES(19,'2026-11-22T17:44:11.027485Z','prediction',2,2,1,'running','succeeded','succeeded',NULL,NULL);
INSERT INTO "history" VALUES(20,'2026-11-22T17:44:11.027485Z','job',2,2,1,'active','generated','generated',NULL,NULL);
INSERT INTO "history" VALUES(21,'2026-11-22T17:44:11.027700Z','prediction',4,4,1,'running','succeeded','succeeded',NULL,NULL);
INSERT INTO "history" VALUES(22,'2026-11-22T17:44:11.027700Z','job',4,4,1,'active','generated','generated',NULL,NULL);
INSERT INTO "history" VALUES(23,'2026-11-22T17:44:11.028133Z','prediction',3,3,1,'running','succeeded','succeeded',NULL,NULL);
INSERT INTO "history" VALUES(24,'2026-11-22T17:44:11.028133Z','job',3,3,1,'active','generated','generated',NULL,NULL);
INSERT INTO "history" VALUES(25,'2026-11-22T17:44:11.049198Z','prediction',5,5,1,'running','succeeded','succeeded',NULL,NULL);
INSERT INTO "history" VALUES(26,'2026-11-22T17:44:11.049198Z','job',5,5,1,'active','generated','generated',NULL,NULL);
INSERT INTO "history" VALUES(27,'2026-11-22T17:44:11.072397Z','output',3,4,NULL,'wanted','stored','stored',NULL,NULL);
INSERT INTO "history" VALUES(28,'2026-11-22T17:44:11.072397Z','job',4,4,NULL,'generated','done','stored',NULL,NULL);
INSERT INTO "history" VALUES(29,'2026-11-22T17:44:11.083407Z','output',4,3,NULL,'wanted','stored','stored',NULL,NULL);
INSERT INTO "history" VALUES(30,'2026-11-22T17:44:11.083407Z','job',3,3,NULL,'generated','done','stored',NULL,NULL);
INSERT INTO "history" VALUES(31,'2026-11-22T17:44:11.083520Z','output',1,1,NULL,'wanted','stored','stored',NULL,NULL);
INSERT INTO "history" VALUES(32,'2026-11-22T17:44:11.083520Z','job',1,1,NULL,'generated','done','stored',NULL,NULL);
INSERT INTO "history" VALUES(33,'2026-11-22T17:44:11.087502Z','output',2,2,NULL,'wanted','stored','stored',NULL,NULL);
INSERT INTO "history" VALUES(34,'2026-11-22T17:44:11.087502Z','job',2,2,NULL,'generated','done','stored',NULL,NULL);
INSERT INTO "history" VALUES(35,'2026-11-22T17:44:11.096548Z','output',5,5,NULL,'wanted','stored','stored',NULL,NULL);
INSERT INTO "history" VALUES(36,'2026-11-22T17:44:11.102410Z','output',6,5,NULL,'wanted','stored','stored',NULL,NULL);
INSERT INTO "history" VALUES(37,'2026-11-22T17:44:11.102410Z','job',5,5,NULL,'generated','done','stored',NULL,NULL);
INSERT INTO "history" VALUES(38,'2026-11-22T17:44:35.959009Z','run',1,NULL,1,'open','ended','exit 0','every job is done',NULL);
INSERT INTO "history" VALUES(39,'2026-11-22T17:44:35.990403Z','run',2,NULL,2,NULL,'open','started',NULL,NULL);
INSERT INTO "history" VALUES(40,'2026-11-22T17:44:36.009455Z','job',6,6,2,'pending','active','intended',NULL,NULL);
INSERT INTO "history" VALUES(41,'2026-11-22T17:44:36.009455Z','prediction',6,6,2,NULL,'submitting','intent committed',NULL,NULL);
INSERT INTO "history" VALUES(42,'2026-11-22T17:44:36.010156Z','job',8,8,2,'pending','active','intended',NULL,NULL);
INSERT INTO "history" VALUES(43,'2026-11-22T17:44:36.010156Z','prediction',7,8,2,NULL,'submitting','intent committed',NULL,NULL);
INSERT INTO "history" VALUES(44,'2026-11-22T17:44:36.010633Z','job',7,7,2,'pending','active','intended',NULL,NULL);
INSERT INTO "history" VALUES(45,'2026-11-22T17:44:36.010633Z','prediction',8,7,2,NULL,'submitting','intent committed',NULL,NULL);
INSERT INTO "history" VALUES(46,'2026-11-22T17:44:36.018153Z','prediction',6,6,2,'submitting','running','accepted',NULL,'65596d0645b98b98d00d99961c2075d0');
INSERT INTO "history" VALUES(47,'2026-11-22T17:44:36.023970Z','prediction',7,8,2,'submitting','running','accepted',NULL,'c0f56113099da7bc73e79136093690a0');
INSERT INTO "history" VALUES(48,'2026-11-22T17:44:36.025737Z','prediction',8,7,2,'submitting','running','accepted',NULL,'8d54fc8fd17633884fd964bcc644bcc1');
INSERT INTO "history" VALUES(49,'2026-11-22T17:44:36.131544Z','prediction',6,6,2,'running','errored','failed','NSFW content detected: The safety checker refused the output',NULL);
INSERT INTO "history" VALUES(50,'2026-11-22T17:44:36.131544Z','job',6,6,2,'active','failed','failed','NSFW content detected: The safety checker refused the output',NULL);
INSERT INTO "history" VALUES(51,'2026-11-22T17:44:36.136345Z','prediction',7,8,2,'running','errored','failed','NSFW content detected: The safety checker refused the output',NULL);
INSERT INTO "history" VALUES(52,'2026-11-22T17:44:36.136345Z','job',8,8,2,'active','failed','failed','NSFW content detected: The safety checker refused the output',NULL);
INSERT INTO "history" VALUES(53,'2026-11-22T17:44:36.139243Z','prediction',8,7,2,'running','errored','failed','NSFW content detected: The safety checker refused the output',NULL);
INSERT INTO "history" VALUES(54,'2026-11-22T17:44:36.139243Z','job',7,7,2,'active','failed','failed','NSFW content detected: The safety checker refused the output',NULL);
INSERT INTO "history" VALUES(55,'2026-11-22T17:44:36.147771Z','run',2,NULL,2,'open','ended','exit 3','some jobs failed',NULL);
INSERT INTO "history" VALUES(56,'2026-11-22T17:44:36.181033Z','run',3,NULL,3,NULL,'open','started',NULL,NULL);
INSERT INTO "history" VALUES(57,'2026-11-22T17:44:36.273507Z','run',3,NULL,3,'open','ended','exit 3','some jobs failed',NULL);
INSERT INTO "history" VALUES(58,'2026-11-22T17:44:36.317537Z','run',4,NULL,4,NULL,'open','started',NULL,NULL);
INSERT INTO "history" VALUES(59,'2026-11-22T17:44:36.346757Z','job',9,9,4,'pending','active','intended',NULL,NULL);
INSERT INTO "history" VALUES(60,'2026-11-22T17:44:36.346757Z','prediction',9,9,4,NULL,'submitting','intent committed',NULL,NULL);
INSERT INTO "history" VALUES(61,'2026-11-22T17:44:36.353267Z','prediction',9,9,4,'submitting','running','accepted',NULL,'89f95c108a6cfdaa7711dc49cde77a1a');
INSERT INTO "history" VALUES(62,'2026-11-22T17:44:36.464594Z','prediction',9,9,4,'running','succeeded','succeeded',NULL,NULL);
INSERT INTO "history" VALUES(63,'2026-11-22T17:44:36.464594Z','job',9,9,4,'active','generated','generated',NULL,NULL);
INSERT INTO "history" VALUES(64,'2026-11-22T17:44:36.475391Z','output',7,9,NULL,'wanted','stored','stored',NULL,NULL);
INSERT INTO "history" VALUES(65,'2026-11-22T17:44:36.475391Z','job',9,9,NULL,'generated','done','stored',NULL,NULL);
INSERT INTO "history" VALUES(66,'2026-11-22T17:44:36.478581Z','run',4,NULL,4,'open','ended','exit 4','the limit of creates for this invocation is reached',NULL);
CREATE TABLE jobs (
	seq INTEGER NOT NULL, 
	id BLOB NOT NULL, 
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
	listed_in INTEGER, 
	priority INTEGER DEFAULT 0 NOT NULL, 
	position INTEGER DEFAULT 0 NOT NULL, 
	not_before TEXT, 
	created_at TEXT NOT NULL, 
	ended_at TEXT, 
	PRIMARY KEY (seq), 
	UNIQUE (id), 
	FOREIGN KEY(listed_in) REFERENCES manifests (seq)
);
INSERT INTO "jobs" VALUES(1,X'76A416B553CE338C5DB46FE1540B1C14','flux-depth-dev','{"control_image":"https://photos.invalid/lighthouse.jpg","prompt":"a lighthouse, 0"}',0,1,NULL,NULL,'done',NULL,NULL,NULL,1,0,4,0,1,NULL,'2026-11-22T17:44:10.816996Z','2026-11-22T17:44:11.083520Z');
INSERT INTO "jobs" VALUES(2,X'6870B74296FF2D67BAFE6A50F62CDC4E','flux-depth-dev','{"control_image":"https://photos.invalid/lighthouse.jpg","prompt":"a lighthouse, 1"}',0,1,NULL,NULL,'done',NULL,NULL,NULL,1,0,4,0,2,NULL,'2026-11-22T17:44:10.816996Z','2026-11-22T17:44:11.087502Z');
INSERT INTO "jobs" VALUES(3,X'5639CB4DB6FE978C975975FEF84C4B5B','flux-depth-dev','{"control_image":"https://photos.invalid/lighthouse.jpg","prompt":"a lighthouse, 2"}',0,1,NULL,NULL,'done',NULL,NULL,NULL,1,0,4,0,3,NULL,'2026-11-22T17:44:10.816996Z','2026-11-22T17:44:11.083407Z');
INSERT INTO "jobs" VALUES(4,X'43D8A2B1A0C4A3C1A9304C47C5A6AEFE','flux-depth-dev','{"control_image":"https://photos.invalid/lighthouse.jpg","prompt":"a lighthouse, 3"}',0,1,NULL,NULL,'done',NULL,NULL,NULL,1,0,4,0,4,NULL,'2026-11-22T17:44:10.816996Z','2026-11-22T17:44:11.072397Z');
INSERT INTO "jobs" VALUES(5,X'3D76715427630EB332EF34DF8B1674EA','flux-depth-dev','{"control_image":"sha256:a534e2bb130ab90d23e3cee2922c699c1decef7864507d52fdd30b9ff230616d","num_outputs":2,"prompt":"a local one"}',0,2,'a534e2bb130ab90d23e3cee2922c699c1decef7864507d52fdd30b9ff230616d','/data/batch/coffee.webp','done',NULL,NULL,NULL,1,0,3,0,5,NULL,'2026-11-22T17:44:10.816996Z','2026-11-22T17:44:11.102410Z');
INSERT INTO "jobs" VALUES(6,X'B28914F955603346FD004BA71288474D','flux-depth-dev','{"control_image":"https://photos.invalid/lighthouse.jpg","prompt":"a lighthouse, 4"}',0,1,NULL,NULL,'failed','filtered','NSFW content detected: The safety checker refused the output','{"filtered": 1}',1,0,4,0,5,NULL,'2026-11-22T17:44:35.985002Z','2026-11-22T17:44:36.131544Z');
INSERT INTO "jobs" VALUES(7,X'CF82888F60BFE8C10EC7548F0DB45BB0','flux-depth-dev','{"control_image":"https://photos.invalid/lighthouse.jpg","prompt":"a lighthouse, 5"}',0,1,NULL,NULL,'failed','filtered','NSFW content detected: The safety checker refused the output','{"filtered": 1}',1,0,4,0,6,NULL,'2026-11-22T17:44:35.985002Z','2026-11-22T17:44:36.139243Z');
INSERT INTO "jobs" VALUES(8,X'EDE98EE7A900C495627873B6CCD6D830','flux-depth-dev','{"control_image":"https://photos.invalid/lighthouse.jpg","prompt":"a lighthouse, 6"}',0,1,NULL,NULL,'failed','filtered','NSFW content detected: The safety checker refused the output','{"filtered": 1}',1,0,4,0,7,NULL,'2026-11-22T17:44:35.985002Z','2026-11-22T17:44:36.136345Z');
INSERT INTO "jobs" VALUES(9,X'A8DF7ECD39EF7329B5F59505664AA166','flux-depth-dev','{"control_image":"https://photos.invalid/lighthouse.jpg","prompt":"a lighthouse, 7"}',0,1,NULL,NULL,'done',NULL,NULL,NULL,1,0,4,0,8,NULL,'2026-11-22T17:44:36.311271Z','2026-11-22T17:44:36.475391Z');
INSERT INTO "jobs" VALUES(10,X'FF053AABE4BA195CE73A6F73AC07AA9E','flux-depth-dev','{"control_image":"https://photos.invalid/lighthouse.jpg","prompt":"a lighthouse, 8"}',0,1,NULL,NULL,'pending',NULL,NULL,NULL,0,0,4,0,9,NULL,'2026-11-22T17:44:36.311271Z',NULL);
CREATE TABLE lanes (
	account TEXT NOT NULL, 
	holder TEXT, 
	epoch INTEGER DEFAULT 0 NOT NULL, 
	expires_at TEXT, 
	skew_us INTEGER, 
	PRIMARY KEY (account)
);
CREATE TABLE ledger_version (
	version INTEGER NOT NULL, 
	dataset TEXT NOT NULL
);
INSERT INTO "ledger_version" VALUES(1,'c3eac75103b61967');
CREATE TABLE manifest_files (
	manifest_seq INTEGER NOT NULL, 
	path TEXT NOT NULL, 
	UNIQUE (manifest_seq, path), 
	FOREIGN KEY(manifest_seq) REFERENCES manifests (seq)
);
INSERT INTO "manifest_files" VALUES(1,'/data/batch/coffee.webp');
INSERT INTO "manifest_files" VALUES(3,'/data/batch/coffee.webp');
CREATE TABLE manifests (
	seq INTEGER NOT NULL, 
	identity TEXT NOT NULL, 
	path TEXT, 
	bytes INTEGER, 
	model TEXT NOT NULL, 
	settings_json TEXT NOT NULL, 
	rows INTEGER DEFAULT 0 NOT NULL, 
	invalid_rows INTEGER DEFAULT 0 NOT NULL, 
	first_seen_at TEXT NOT NULL, 
	imported_at TEXT, 
	listed INTEGER DEFAULT 0 NOT NULL, 
	PRIMARY KEY (seq), 
	UNIQUE (identity)
);
INSERT INTO "manifests" VALUES(1,'12242c48b07b2efda48ede5b19cd05d1622c762ba4e2102ad4a43347ff21b9e6','/data/batch/manifest.jsonl',565,'flux-depth-dev','{"model":"flux-depth-dev","defaults":{},"sweep":null}',5,0,'2026-11-22T17:44:10.809923Z','2026-11-22T17:44:10.822963Z',0);
INSERT INTO "manifests" VALUES(2,'6017dcdcd808a8707ae45c92868b94c197b085266423e523b32580f45b9bdc0b','/data/batch/manifest.jsonl',616,'flux-depth-dev','{"model":"flux-depth-dev","defaults":{},"sweep":null}',7,0,'2026-11-22T17:44:35.982559Z','2026-11-22T17:44:35.986117Z',0);
INSERT INTO "manifests" VALUES(3,'a594592d4515801f12db74d5c7dd35c8924ebd8b672b4c15b3090c8eece19d1b','/data/batch/manifest.jsonl',615,'flux-depth-dev','{"model":"flux-depth-dev","defaults":{},"sweep":null}',6,1,'2026-11-22T17:44:36.169785Z','2026-11-22T17:44:36.177124Z',0);
INSERT INTO "manifests" VALUES(4,'025e620b3a15bddbe71b69c43e9c47611627b0fee29a4c79cf7047c75a6be184','/data/batch/manifest.jsonl',792,'flux-depth-dev','{"model":"flux-depth-dev","defaults":{},"sweep":null}',9,0,'2026-11-22T17:44:36.306290Z','2026-11-22T17:44:36.313236Z',1);
CREATE TABLE outputs (
	seq INTEGER NOT NULL, 
	job_seq INTEGER NOT NULL, 
	prediction_seq INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	state TEXT NOT NULL, 
	url TEXT, 
	path TEXT, 
	sha256 TEXT, 
	file_sha256 TEXT, 
	bytes INTEGER, 
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
INSERT INTO "outputs" VALUES(1,1,1,0,'stored','http://127.0.0.1:8000/outputs/f77ece68-0120-0e19-c2b8-7f6262c02cb2/0.webp','images/76a416b553ce338c5db46fe1540b1c14_0.webp','10e2d4a025f2dd060df94fa80dea15352f45b2cc7af7e218c9945df3df20d663',NULL,996,'image/webp',64,64,NULL,NULL,NULL,'2026-11-22T17:44:11.083520Z');
INSERT INTO "outputs" VALUES(2,2,2,0,'stored','http://127.0.0.1:8000/outputs/9f25cb75-02a6-b296-d883-e7dcc984798d/0.webp','images/6870b74296ff2d67bafe6a50f62cdc4e_0.webp','e305b3d3277aa86428e3ffe2ba2f7d4b61e4322a319af56faa3bd252606b31a0',NULL,1154,'image/webp',64,64,NULL,NULL,NULL,'2026-11-22T17:44:11.087502Z');
INSERT INTO "outputs" VALUES(3,4,4,0,'stored','http://127.0.0.1:8000/outputs/6eeb027e-f6fa-718c-44ae-da481408505c/0.webp','images/43d8a2b1a0c4a3c1a9304c47c5a6aefe_0.webp','820cc73d157e94682560a6119e27213255bd43b25c6f5c171311768f06d60162',NULL,1146,'image/webp',64,64,NULL,NULL,NULL,'2026-11-22T17:44:11.072397Z');
INSERT INTO "outputs" VALUES(4,3,3,0,'stored','http://127.0.0.1:8000/outputs/c2570731-2892-acea-fb1e-7490bf25b0da/0.webp','images/5639cb4db6fe978c975975fef84c4b5b_0.webp','06cc51d000c75ea3bb6da24641a252805547317a8c7b8c32a1dfb9ed43d6b249',NULL,1128,'image/webp',64,64,NULL,NULL,NULL,'2026-11-22T17:44:11.083407Z');
INSERT INTO "outputs" VALUES(5,5,5,0,'stored','http://127.0.0.1:8000/outputs/d22b3dbd-0d0b-4f29-f06c-8f6f5e186935/0.webp','images/3d76715427630eb332ef34df8b1674ea_0.webp','0709262ce6b664599364cd2792fda0ec0b6ef9882e68841850771b4e4c9a8042',NULL,1402,'image/webp',64,64,NULL,NULL,NULL,'2026-11-22T17:44:11.096548Z');
INSERT INTO "outputs" VALUES(6,5,5,1,'stored','http://127.0.0.1:8000/outputs/d22b3dbd-0d0b-4f29-f06c-8f6f5e186935/1.webp','images/3d76715427630eb332ef34df8b1674ea_1.webp','71174924c2350ea8b727f8f922a5689dc77be27d651da0881ff75a5bebc54bf6',NULL,1436,'image/webp',64,64,NULL,NULL,NULL,'2026-11-22T17:44:11.102410Z');
INSERT INTO "outputs" VALUES(7,9,9,0,'stored','http://127.0.0.1:8000/outputs/db3cfec0-e539-f7f3-2e34-0919b84b558e/0.webp','images/a8df7ecd39ef7329b5f59505664aa166_0.webp','391b011d38285daf02e8f673e368d4fb4d96ed672be238bb71e49c5d502cbd5b',NULL,1236,'image/webp',64,64,NULL,NULL,NULL,'2026-11-22T17:44:36.475391Z');
CREATE TABLE predictions (
	seq INTEGER NOT NULL, 
	job_seq INTEGER NOT NULL, 
	run_seq INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	provider_id TEXT, 
	state TEXT NOT NULL, 
	at_risk INTEGER DEFAULT 0 NOT NULL, 
	adopted TEXT, 
	account TEXT NOT NULL, 
	key_fingerprint TEXT NOT NULL, 
	key_label TEXT NOT NULL, 
	epoch INTEGER DEFAULT 0 NOT NULL, 
	price INTEGER NOT NULL, 
	reserved INTEGER NOT NULL, 
	cost INTEGER, 
	estimated INTEGER DEFAULT 0 NOT NULL, 
	budget_day TEXT NOT NULL, 
	seed INTEGER, 
	control_url TEXT, 
	boot_id TEXT NOT NULL, 
	intended_at TEXT, 
	intended_boot_us INTEGER, 
	send_by_at TEXT, 
	send_by_boot_us INTEGER, 
	left_at TEXT, 
	left_boot_us INTEGER, 
	answered_at TEXT, 
	answered_boot_us INTEGER, 
	given_up_at TEXT, 
	given_up_boot_us INTEGER, 
	cancel_asked_at TEXT, 
	ended_at TEXT, 
	read_again_at TEXT, 
	run_time_us INTEGER, 
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
INSERT INTO "predictions" VALUES(1,1,1,1,'f77ece68-0120-0e19-c2b8-7f6262c02cb2','succeeded',0,NULL,'add5de50f41f','add5de50f41f','key-0',0,25000,0,25000,0,'2026-11-22',1095253729,NULL,'cf68f6aa-4e43-4f20-abc8-c68180349cf9','2026-11-22T17:44:10.878048Z',13484919007,'2026-11-22T17:44:15.878048Z',13489919007,'2026-11-22T17:44:10.904115Z',13484945066,'2026-11-22T17:44:10.909602Z',13484950553,NULL,NULL,NULL,'2026-11-22T17:44:11.027173Z',NULL,47000,1,NULL,NULL,'5954faea5bdb18f4e9d2d73984ddcd9a');
INSERT INTO "predictions" VALUES(2,2,1,1,'9f25cb75-02a6-b296-d883-e7dcc984798d','succeeded',0,NULL,'add5de50f41f','add5de50f41f','key-0',0,25000,0,25000,0,'2026-11-22',2000639478,NULL,'cf68f6aa-4e43-4f20-abc8-c68180349cf9','2026-11-22T17:44:10.878218Z',13484919171,'2026-11-22T17:44:15.878218Z',13489919171,'2026-11-22T17:44:10.904198Z',13484945149,'2026-11-22T17:44:10.909948Z',13484950899,NULL,NULL,NULL,'2026-11-22T17:44:11.027485Z',NULL,47000,1,NULL,NULL,'d5e5f421cc8004519c50f24c89a0d2dd');
INSERT INTO "predictions" VALUES(3,3,1,1,'c2570731-2892-acea-fb1e-7490bf25b0da','succeeded',0,NULL,'add5de50f41f','add5de50f41f','key-0',0,25000,0,25000,0,'2026-11-22',170337455,NULL,'cf68f6aa-4e43-4f20-abc8-c68180349cf9','2026-11-22T17:44:10.880711Z',13484921670,'2026-11-22T17:44:15.880711Z',13489921670,'2026-11-22T17:44:10.909006Z',13484949957,'2026-11-22T17:44:10.913166Z',13484954117,NULL,NULL,NULL,'2026-11-22T17:44:11.028133Z',NULL,47000,1,NULL,NULL,'6c84766034f4246c22fba86db61ceade');
INSERT INTO "predictions" VALUES(4,4,1,1,'6eeb027e-f6fa-718c-44ae-da481408505c','succeeded',0,NULL,'add5de50f41f','add5de50f41f','key-0',0,25000,0,25000,0,'2026-11-22',309665193,NULL,'cf68f6aa-4e43-4f20-abc8-c68180349cf9','2026-11-22T17:44:10.880900Z',13484921853,'2026-11-22T17:44:15.880900Z',13489921853,'2026-11-22T17:44:10.909101Z',13484950052,'2026-11-22T17:44:10.913581Z',13484954532,NULL,NULL,NULL,'2026-11-22T17:44:11.027700Z',NULL,47000,1,NULL,NULL,'11e67fd1d4bf37403dfe883296f0e97b');
INSERT INTO "predictions" VALUES(5,5,1,1,'d22b3dbd-0d0b-4f29-f06c-8f6f5e186935','succeeded',0,NULL,'add5de50f41f','add5de50f41f','key-0',0,25000,0,25000,0,'2026-11-22',2040502785,'http://127.0.0.1:8000/files/516c4c83ab5246cdb231e43df3fd3889.webp','cf68f6aa-4e43-4f20-abc8-c68180349cf9','2026-11-22T17:44:10.927564Z',13484968519,'2026-11-22T17:44:15.927564Z',13489968519,'2026-11-22T17:44:10.930105Z',13484971056,'2026-11-22T17:44:10.931716Z',13484972667,NULL,NULL,NULL,'2026-11-22T17:44:11.049198Z',NULL,47000,1,NULL,NULL,'5853553bd0d4d751bd0c92213af0b043');
INSERT INTO "predictions" VALUES(6,6,2,1,'690a30e2-2260-be7d-7dae-86305618260e','errored',0,NULL,'add5de50f41f','add5de50f41f','key-0',0,25000,0,0,0,'2026-11-22',182888212,NULL,'cf68f6aa-4e43-4f20-abc8-c68180349cf9','2026-11-22T17:44:36.009455Z',13510050415,'2026-11-22T17:44:41.009455Z',13515050415,'2026-11-22T17:44:36.016624Z',13510057575,'2026-11-22T17:44:36.018119Z',13510059071,NULL,NULL,NULL,'2026-11-22T17:44:36.131544Z',NULL,47000,1,'filtered','NSFW content detected: The safety checker refused the output','65596d0645b98b98d00d99961c2075d0');
INSERT INTO "predictions" VALUES(7,8,2,1,'026f6ade-a856-7e77-ab4e-b6fb33b60a05','errored',0,NULL,'add5de50f41f','add5de50f41f','key-0',0,25000,0,0,0,'2026-11-22',1533745541,NULL,'cf68f6aa-4e43-4f20-abc8-c68180349cf9','2026-11-22T17:44:36.010156Z',13510051113,'2026-11-22T17:44:41.010156Z',13515051113,'2026-11-22T17:44:36.020970Z',13510061921,'2026-11-22T17:44:36.023917Z',13510064868,NULL,NULL,NULL,'2026-11-22T17:44:36.136345Z',NULL,47000,1,'filtered','NSFW content detected: The safety checker refused the output','c0f56113099da7bc73e79136093690a0');
INSERT INTO "predictions" VALUES(8,7,2,1,'858d8a57-232f-a9df-7d2d-1523112e7d91','errored',0,NULL,'add5de50f41f','add5de50f41f','key-0',0,25000,0,0,0,'2026-11-22',440932559,NULL,'cf68f6aa-4e43-4f20-abc8-c68180349cf9','2026-11-22T17:44:36.010633Z',13510051589,'2026-11-22T17:44:41.010633Z',13515051589,'2026-11-22T17:44:36.023321Z',13510064272,'2026-11-22T17:44:36.025706Z',13510066657,NULL,NULL,NULL,'2026-11-22T17:44:36.139243Z',NULL,47000,1,'filtered','NSFW content detected: The safety checker refused the output','8d54fc8fd17633884fd964bcc644bcc1');
INSERT INTO "predictions" VALUES(9,9,4,1,'db3cfec0-e539-f7f3-2e34-0919b84b558e','succeeded',0,NULL,'add5de50f41f','add5de50f41f','key-0',0,25000,0,25000,0,'2026-11-22',460592156,NULL,'cf68f6aa-4e43-4f20-abc8-c68180349cf9','2026-11-22T17:44:36.346757Z',13510387717,'2026-11-22T17:44:41.346757Z',13515387717,'2026-11-22T17:44:36.351821Z',13510392774,'2026-11-22T17:44:36.353228Z',13510394180,NULL,NULL,NULL,'2026-11-22T17:44:36.464594Z',NULL,47000,1,NULL,NULL,'89f95c108a6cfdaa7711dc49cde77a1a');
CREATE TABLE rows (
	manifest_seq INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	line INTEGER NOT NULL, 
	user_id TEXT, 
	job_seq INTEGER, 
	error TEXT, 
	priority INTEGER DEFAULT 0 NOT NULL, 
	meta_json TEXT, 
	axes_json TEXT, 
	PRIMARY KEY (manifest_seq, number), 
	FOREIGN KEY(manifest_seq) REFERENCES manifests (seq), 
	FOREIGN KEY(job_seq) REFERENCES jobs (seq)
)
 WITHOUT ROWID

;
INSERT INTO "rows" VALUES(1,1,1,NULL,1,NULL,0,'{"album": "Öl"}',NULL);
INSERT INTO "rows" VALUES(1,2,2,NULL,2,NULL,0,'{"album": "Öl"}',NULL);
INSERT INTO "rows" VALUES(1,3,3,NULL,3,NULL,0,'{"album": "Öl"}',NULL);
INSERT INTO "rows" VALUES(1,4,4,NULL,4,NULL,0,'{"album": "Öl"}',NULL);
INSERT INTO "rows" VALUES(1,5,5,'local-1',5,NULL,0,NULL,NULL);
INSERT INTO "rows" VALUES(2,1,1,NULL,1,NULL,0,NULL,NULL);
INSERT INTO "rows" VALUES(2,2,2,NULL,2,NULL,0,NULL,NULL);
INSERT INTO "rows" VALUES(2,3,3,NULL,3,NULL,0,NULL,NULL);
INSERT INTO "rows" VALUES(2,4,4,NULL,4,NULL,0,NULL,NULL);
INSERT INTO "rows" VALUES(2,5,5,NULL,6,NULL,0,NULL,NULL);
INSERT INTO "rows" VALUES(2,6,6,NULL,7,NULL,0,NULL,NULL);
INSERT INTO "rows" VALUES(2,7,7,NULL,8,NULL,0,NULL,NULL);
INSERT INTO "rows" VALUES(3,1,1,NULL,1,NULL,0,'{"album": "Öl"}',NULL);
INSERT INTO "rows" VALUES(3,2,2,NULL,2,NULL,0,'{"album": "Öl"}',NULL);
INSERT INTO "rows" VALUES(3,3,3,NULL,3,NULL,0,'{"album": "Öl"}',NULL);
INSERT INTO "rows" VALUES(3,4,4,NULL,4,NULL,0,'{"album": "Öl"}',NULL);
INSERT INTO "rows" VALUES(3,5,5,'local-1',5,NULL,0,NULL,NULL);
INSERT INTO "rows" VALUES(3,6,6,NULL,NULL,'row 6 (line 6), control_image: ''nowhere.png'' does not exist in ''/data/batch''',0,NULL,NULL);
INSERT INTO "rows" VALUES(4,1,1,NULL,1,NULL,0,NULL,NULL);
INSERT INTO "rows" VALUES(4,2,2,NULL,2,NULL,0,NULL,NULL);
INSERT INTO "rows" VALUES(4,3,3,NULL,3,NULL,0,NULL,NULL);
INSERT INTO "rows" VALUES(4,4,4,NULL,4,NULL,0,NULL,NULL);
INSERT INTO "rows" VALUES(4,5,5,NULL,6,NULL,0,NULL,NULL);
INSERT INTO "rows" VALUES(4,6,6,NULL,7,NULL,0,NULL,NULL);
INSERT INTO "rows" VALUES(4,7,7,NULL,8,NULL,0,NULL,NULL);
INSERT INTO "rows" VALUES(4,8,8,NULL,9,NULL,0,NULL,NULL);
INSERT INTO "rows" VALUES(4,9,9,NULL,10,NULL,0,NULL,NULL);
CREATE TABLE runs (
	seq INTEGER NOT NULL, 
	id TEXT NOT NULL, 
	manifest_seq INTEGER NOT NULL, 
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
INSERT INTO "runs" VALUES(1,'20261122-174410-bcb6',1,'2026-11-22T17:44:10.835636Z',NULL,1,'2026-11-22T17:44:35.959009Z',0,'every job is done','{"model":"flux-depth-dev","manifest":null,"defaults":{},"sweep":null,"limits":{"creates":100,"window":3.0,"concurrent":10,"burst":null},"budget":{"per_run":null,"per_day":null,"per_dataset":null,"timezone":"UTC"},"provider":{"base_url":"http://127.0.0.1:8000/v1","dialect":"card","auth":"x-api-key","timeout":1.5,"deadline":12.0},"reconcile":{"lag":0.3,"patience":12.0},"sink":{"max_bytes":200000000,"max_pixels":100000000,"min_free":0,"downloads":16,"timeout":5.0},"inputs":{"seed":"derived"},"stop":{"identical_failures":20},"keys":[]}','0.1.0','somewhere',2566);
INSERT INTO "runs" VALUES(2,'20261122-174435-097e',2,'2026-11-22T17:44:35.990403Z',NULL,1,'2026-11-22T17:44:36.147771Z',3,'some jobs failed','{"model":"flux-depth-dev","manifest":null,"defaults":{},"sweep":null,"limits":{"creates":100,"window":3.0,"concurrent":10,"burst":null},"budget":{"per_run":"1.00","per_day":null,"per_dataset":null,"timezone":"UTC"},"provider":{"base_url":"http://127.0.0.1:8000/v1","dialect":"card","auth":"x-api-key","timeout":1.5,"deadline":12.0},"reconcile":{"lag":0.3,"patience":12.0},"sink":{"max_bytes":200000000,"max_pixels":100000000,"min_free":0,"downloads":16,"timeout":5.0},"inputs":{"seed":"derived"},"stop":{"identical_failures":20},"keys":[]}','0.1.0','somewhere',2566);
INSERT INTO "runs" VALUES(3,'20261122-174436-2096',3,'2026-11-22T17:44:36.181033Z',NULL,1,'2026-11-22T17:44:36.273507Z',3,'some jobs failed','{"model":"flux-depth-dev","manifest":null,"defaults":{},"sweep":null,"limits":{"creates":100,"window":3.0,"concurrent":10,"burst":null},"budget":{"per_run":null,"per_day":null,"per_dataset":null,"timezone":"UTC"},"provider":{"base_url":"http://127.0.0.1:8000/v1","dialect":"card","auth":"x-api-key","timeout":1.5,"deadline":12.0},"reconcile":{"lag":0.3,"patience":12.0},"sink":{"max_bytes":200000000,"max_pixels":100000000,"min_free":0,"downloads":16,"timeout":5.0},"inputs":{"seed":"derived"},"stop":{"identical_failures":20},"keys":[]}','0.1.0','somewhere',2566);
INSERT INTO "runs" VALUES(4,'20261122-174436-3cd0',4,'2026-11-22T17:44:36.317537Z',NULL,1,'2026-11-22T17:44:36.478581Z',4,'the limit of creates for this invocation is reached','{"model":"flux-depth-dev","manifest":null,"defaults":{},"sweep":null,"limits":{"creates":100,"window":3.0,"concurrent":10,"burst":null},"budget":{"per_run":null,"per_day":null,"per_dataset":null,"timezone":"UTC"},"provider":{"base_url":"http://127.0.0.1:8000/v1","dialect":"card","auth":"x-api-key","timeout":1.5,"deadline":12.0},"reconcile":{"lag":0.3,"patience":12.0},"sink":{"max_bytes":200000000,"max_pixels":100000000,"min_free":0,"downloads":16,"timeout":5.0},"inputs":{"seed":"derived"},"stop":{"identical_failures":20},"keys":[]}','0.1.0','somewhere',2566);
CREATE TABLE uploads (
	sha256 TEXT NOT NULL, 
	file_id TEXT, 
	url TEXT NOT NULL, 
	bytes INTEGER NOT NULL, 
	mime TEXT NOT NULL, 
	key_fingerprint TEXT NOT NULL, 
	uploaded_at TEXT NOT NULL, 
	expires_at TEXT, 
	used_at TEXT, 
	PRIMARY KEY (sha256)
);
INSERT INTO "uploads" VALUES('a534e2bb130ab90d23e3cee2922c699c1decef7864507d52fdd30b9ff230616d','516c4c83ab5246cdb231e43df3fd3889','http://127.0.0.1:8000/files/516c4c83ab5246cdb231e43df3fd3889.webp',29240,'image/webp','add5de50f41f','2026-11-22T17:44:10.913862Z','2026-12-01T17:44:10.905000Z','2026-11-22T17:44:10.913862Z');
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
       json_extract(j.input_json, '$.prompt') AS prompt,
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
       COALESCE(p.cost, 0) / 1000000.0 AS cost_usd,
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
       COALESCE(SUM(CASE WHEN p.estimated = 0 THEN p.cost END), 0) / 1000000.0 AS settled_usd,
       COALESCE(SUM(CASE WHEN p.estimated = 1 THEN p.cost END), 0) / 1000000.0 AS estimated_usd,
       COALESCE(SUM(p.reserved), 0) / 1000000.0 AS reserved_usd,
       COALESCE(SUM(CASE WHEN p.state IN ('errored', 'cancelled', 'timed_out', 'lost') THEN p.cost END), 0) / 1000000.0 AS spent_on_failures_usd
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
       json_extract(j.input_json, '$.prompt') AS prompt,
       j.ended_at AS ended_at
FROM rows r
LEFT JOIN jobs j ON j.seq = r.job_seq
WHERE r.job_seq IS NULL OR j.state = 'failed';
COMMIT;
PRAGMA user_version = 1;

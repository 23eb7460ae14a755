//! Writes the seeds of the corpus: `cargo run --example seeds`. The seeds are commands, frames and payloads of nodes,
//! JSON texts, lines, packets, steps of `large` and random bytes, the same in each run. Inputs that a fuzzer found
//! (`fuzz/corpus/TARGET/found-*`) stay.

use aggregator_core::node::Node;
use aggregator_core::{Command, Propagation, Settings};
use aggregator_fuzz::arguments::{ARGUMENT, COMMAND};
use aggregator_fuzz::large::{seed as step, step as kind};
use aggregator_fuzz::server::{BASE, Server, frames};
use aggregator_fuzz::{codec, line};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message;
use std::path::Path;

/// Commands by words; `pass N` lets time pass, with ticks.
const SCRIPTS: [&[&str]; 15] = [
    &[
        "STAT m 5",
        "STAT m 7.5 TAGS a:1",
        "STAT c 10 DIFF",
        "pass 900",
        "STAT c 30 DIFF",
    ],
    &[
        "STAT disk.iops@sda 0.1 TAGS dim:iops",
        "pass 301000",
        "STAT disk.iops@sda -4",
        "pass 310000",
    ],
    &[
        "MSTAT DIFF TAGS a:1 VALUES x 1 y 2",
        "pass 600",
        "MSTAT DIFF VALUES x 9 y 1.5 z 3",
        "pass 3700000",
    ],
    &[
        "LOG hello",
        "LOG world LEVEL 2 TAGS b:2",
        "LOG x",
        "POP LOG COUNT 1",
    ],
    &[
        "ERROR broken LEVEL 3 TYPE BUG CODE 7 FUNC f FILE p.c BACKTRACE bt GID 1 NID 2 KEY k",
        "ERROR other",
        "pass 10",
        "POP ERROR COUNT 1",
        "ERROR broken KEY k",
        "pass 400000",
    ],
    &[
        "REALITY sda system.Disk {\"size\":1,\"x\":[true]} TAGS a:1",
        "REALITY sdb M [] TTL 5",
        "REALITY sda M 2",
        "pass 6000",
        "FORGET REALITY sda",
        "FETCH REALITY",
    ],
    &[
        "STAT a 1",
        "STAT b 2",
        "STAT d 3",
        "FORGET METRIC b",
        "ERROR e KEY e",
        "ERROR f KEY f",
        "FORGET ERROR e",
        "REALITY r M 1",
        "REALITY s M 1",
        "FORGET REALITY r",
        "POP REALITY COUNT 2",
        "REQUEUE REALITY",
    ],
    &[
        "STAT m 1 AT 1700002850000",
        "pass 1",
        "STAT m 2 AT 1700002600000",
        "back 4000000",
        "STAT m 3",
        "pass 1000",
    ],
    &[
        "STAT m 18446744073709551615 DIFF",
        "pass 1000",
        "STAT m 3 DIFF",
        "STAT n 1e308",
        "STAT n 1e308",
        "RANGE m MIN",
    ],
    &[
        "STAT m 1 SEQ a 1",
        "MSTAT SEQ a 2 VALUES m 1 n 2",
        "LOG hello SEQ b 0",
        "STAT m 1 SEQ a 2",
        "pass 10",
        "ERROR e KEY e SEQ a 3",
        "LOG hello SEQ a-source-with-a-longer-name 9223372036854775807",
    ],
    &[
        "STAT i 5 INC",
        "STAT i 0.5 INC TIMES 3 TAGS rack=a1",
        "pass 12000",
        "STAT i 7 INC AT 1700002801000",
        "STAT g 5 ADD",
        "STAT g -2.5 ADD",
        "STAT g 9 TIMES 4294967296",
        "pass 3900000",
        "STAT i 1 INC",
    ],
    &[
        "STAT h 5 HIST",
        "STAT h -7.5 HIST TIMES 40",
        "STAT h 0 TIMES 3",
        "STAT h 1e12",
        "STAT r 5 INC HIST",
        "STAT d 5 DIFF HIST",
        "pass 20000",
        "STAT r 6 INC",
        "STAT d 9 DIFF",
        "pass 310000",
        "STAT h 2",
        "pass 3700000",
    ],
    &[
        "MSTAT COLUMNS METRIC VALUE TYPE HIST TIMES TAGS VALUES a 1 ABS 1 2 rack=a1 b 2 INC 0  k:v c 3 DIFF 1   d 4 ADD 0 1 ",
        "pass 900",
        "MSTAT HIST SEQ a 1 COLUMNS AT VALUE METRIC VALUES 1700002800100 7 a  8 a",
        "MSTAT COLUMNS TYPE VALUE METRIC VALUES INC 3 b DIFF 9 c",
        "FORGET METRIC a",
        "MSTAT COLUMNS TYPE VALUE METRIC VALUES INC 3 a",
        "pass 400000",
    ],
    &[
        "LOG hello LEVEL critical TAGS rack=a1",
        "LOG hello LEVEL Trace SEQ a 1",
        "ERROR e KEY e LEVEL WARNING TAGS a=b=c",
        "STAT m 1 HIST TAGS a:b=c",
        "FORGET METRIC m",
        "STAT m 1 DIFF",
        "STAT m 5 AT 1700002200000 DIFF",
    ],
    &[
        "HIST h SUM 21 MIN 0.5 MAX 9 TAGS rack=a1 SEQ a 1 VALUES 1 3 2 9 8.5 4294967296",
        "STAT m 1",
        "HIST m VALUES 5 2",
        "HIST n VALUES 1 1 2 1 3 1 4 1 5 1 6 1 7 1 8 1 9 1 10 1 11 1 12 1 13 1 14 1 15 1 16 1 17 1 -18 1 0 40",
        "pass 301000",
        "HIST h AT 1700002801000 VALUES -1e300 17 1e300 1",
        "HIST m VALUES 5 2",
        "pass 3900000",
    ],
];

const ARGUMENTS: [&str; 58] = [
    "STAT n m 5",
    "STAT n m +1.5e3 ABS TAGS a:1 AT 1700002800000",
    "STAT n c 18446744073709551615 diff",
    "STAT n m 0x10",
    "STAT n m 1 AT 1700002800",
    "STAT n m 1 ABS DIFF",
    "MSTAT n TAGS a:1 ATOMIC VALUES x 1 y 2",
    "MSTAT n VALUES x 1 y bad x 3",
    "LOG n hello LEVEL 9 TAGS a b:2",
    "LOG n a-message-that-is-longer-than-the-limit-of-24",
    "ERROR n m PUBLIC p LEVEL 1 TYPE perf TAGS t:1 CODE c FUNC f FILE p BACKTRACE b GID 1 NID 2 KEY k AT 1700002800000",
    "ERROR n m TYPE nonsense",
    "REALITY n sda system.Disk {\"size\":1} TAGS a:1 TTL 60",
    "REALITY n sda M {\"a\":1,}",
    "FORGET n METRIC m",
    "FORGET n REALITY sda",
    "REQUEUE n ERROR MATCH k*",
    "POP n MIN HOUR LOG ERROR REALITY COUNT 10",
    "POP n MIN FORMAT LINE",
    "FETCH n LOG ERROR COUNT 2 LEASE 1000 BLOCK 0",
    "ACK n LOG 1700002800000000 1700002800000001",
    "NACK n ERROR 1",
    "EXTEND n LOG 1000 1700002800000000",
    "PEEK n LOG FROM 1700002800000000 REV COUNT 1",
    "GET n METRIC m",
    "GET n ERROR k",
    "RANGE n m MIN FROM 0 TO 1700002800000",
    "SCAN n METRIC 0 MATCH [a-m]* COUNT 5 WITHVALUES",
    "INFO n",
    "INFO n too-much",
    "STAT n m 5 SEQ a 1",
    "MSTAT n SEQ a 1 VALUES x 1 y 2",
    "LOG n hello SEQ a-source-with-a-longer-name 9223372036854775807",
    "ERROR n m SEQ a 9223372036854775808",
    "STAT n i 5 INC TIMES 4294967296",
    "STAT n i -5 inc",
    "STAT n g -5 ADD HIST",
    "STAT n g 5 DIFF TIMES 2",
    "STAT n g 5 TIMES 4294967297",
    "STAT n h 5 HIST HIST",
    "MSTAT n INC HIST VALUES i 1 i 2.5",
    "MSTAT n COLUMNS METRIC VALUE TYPE HIST TIMES TAGS AT VALUES a 1 INC 1 3 rack=a1 1700002800000",
    "MSTAT n COLUMNS VALUE METRIC TYPE HIST TIMES TAGS AT VALUES 1 a      2 b DIFF 0  :x ",
    "MSTAT n ATOMIC COLUMNS METRIC VALUE TYPE VALUES a 1 INC a 2 nonsense",
    "MSTAT n COLUMNS METRIC VALUE TIMES VALUES a 1 0 b 2 2",
    "MSTAT n COLUMNS METRIC VALUE VALUES a 1 b",
    "MSTAT n COLUMNS METRIC METRIC VALUES a 1",
    "MSTAT n COLUMNS METRIC VALUES a",
    "MSTAT n COLUMNS METRIC VALUE TYPE VALUES new 1 INC new 2 DIFF",
    "LOG n hello LEVEL warning TAGS a=1",
    "ERROR n m LEVEL Critical TAGS =v",
    "LOG n hello LEVEL fatal",
    "HIST n h SUM 21 MIN 0.5 MAX 9 TAGS rack=a1 AT 1700002800000 SEQ a 1 VALUES 1 3 2 9 8.5 4294967296",
    "HIST n h VALUES 1 1 2 1 3 1 4 1 5 1 6 1 7 1 8 1 9 1 10 1 11 1 12 1 13 1 14 1 15 1 16 1 17 1 -18 1 0 40",
    "HIST n h MIN 2 MAX 1 VALUES 1 1",
    "HIST n h VALUES 1",
    "HIST n h VALUES 1 0 2 4294967297",
    "HIST n h MIN 2 VALUES 1e309 1 x 2",
];

const JSON: [&str; 28] = [
    "null",
    "true",
    "-0.5e+10",
    "01",
    "1e999",
    "\"\"",
    "\"\\u0041\\n\\\"\\/\"",
    "\"\\ud83d\\ude00\"",
    "\"\\ud800\"",
    "[]",
    "[1,2,[3]]",
    "[1,]",
    "{}",
    "{\"a\":1,\"b\":[true,null,{\"c\":\"d\"}]}",
    "{\"b\":2,\"a\":1}\0{ \"a\" : 1 , \"b\" : 2 }",
    "[1,2]\0[2,1]",
    "1\x001.0",
    "\"a\"\0\"\\u0061\"",
    "{\"a\":1,\"\\u0061\":2}",
    "\u{feff}1",
    "\"\u{e9}\u{1f600}\"",
    " \t\r\n1 ",
    "1 2",
    "\"\u{7f}\"",
    "nul",
    "[[[[[[[[[[]]]]]]]]]]",
    "{\"\":{\"\":{\"\":0}}}",
    "tru\0e",
];

/// Packets of statsd and lines of Graphite.
const PACKETS: [&[u8]; 20] = [
    b"gorets:1|c|@0.1\nglork:320|ms|@0.1\ngaugor:333|g\ngaugor:-10|g\nuniques:765|s",
    b"page.time.3:320|ms|#route:/pay,method:GET",
    b"page.time:1:2.5:3|d|@0.5|#env:dev,x|c:ci-83c0a99c|e:it-false|card:low|T1656581400",
    b"a:1:x::-4:5:|c\r\na:+1:-2:.5|g|#:x,,y:\r\n",
    b"a:1:2|s|@0.3|T1.5\n\na:|s\n:1|c\na|c\na:1",
    b"a:18446744073709551615|c|@0.5\na:1e308|c|@0.01\na:007|h|@2\na:1e-400|c\na:-1e-400|g",
    b"a:1|g|x:y||T-1\na:1|c:2|c\na:nan|g\na:1|m",
    b"caf\xe9:1|g|#k\xff:v\xfe\nsnow.\xe2\x98\x83:2|g",
    b"_e{5,4}:title|text|d:1656581400|h:web1|p:low|t:error|k:key|s:nagios|#a:b,c",
    b"_e{4,4}:a\\nb|c\\nd|t:success\n_e{2,1}:\xe9\xff|x|#\xff\n_e{99,1}:a|b\n_e{0,0}:|",
    b"_e{18446744073709551615,1}:a|b\n_e{1,1}:a|b|t:fatal|d:now|z",
    b"_sc|Redis connection|2|d:1656581400|h:web1|#env:dev|m:timed out\\nm\\: after \"10s\"|c:id",
    b"_sc|a|0\n_sc||1\n_sc|a|4\n_sc|a|3|x|d:x|m:a|b\\\x01",
    b"local.random.diceroll 4 1656581400\nb -1.5e3 1656581400.25\r\nc .5 -1\nd 7 N",
    b"disk.used;datacenter=dc1;rack=a1 42 1656581400\na;b=c=d;e= 1 N",
    b" \ta \t7   0  \n \na;b 1 N\n;a=b 1 N\na inf 1\na 1 1 1\na 1",
    b"a 1 -1.0\na 1 253402300800\na 1e999 5\n\xff;\xfe=\xfd 1 N",
    b"\n\n\r\n|\n:\n_\n_e{\n_sc|\n;= \n",
    b"a:1|c|#a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t,u,v,w,x,y,z\n",
    b"\x00\xffa:1|g\x00\n\x80",
];

/// Node, metric and tags.
const LINES: [&str; 22] = [
    "n1\u{b}disk.iops@sda\u{b}dim:iops",
    "n1\u{b}m\u{b}",
    "n 1\u{b}a b,c@x=y\u{b}k=1:v,2 flag",
    "n\u{b}@\u{b}",
    "n\u{b}#m\u{b}a:1",
    "n\u{b}m\n\u{b}a:x\\ b: c:\u{7f}",
    "n\u{b}m\u{b}node:evil time:1 count:7 time_:2",
    "n\u{b}a@b@c\u{b}instance:i",
    "n\\\u{b}m\\\u{b}a\\:b\\",
    "n\u{b}a\\,b\u{b}c:\\,d",
    "n\u{b}a\\\\b\u{b}c:\\\\d",
    "n\u{b}\u{e9}\u{b}\u{e9}:\u{1f600}",
    "n\"x\"\u{b}m\"\u{b}a:\"b\"",
    "n\u{b}##\u{b}#:#",
    "n\u{b}\t\u{b}\t:\t",
    "n\u{b} \u{b}a:= b:,",
    "n\u{b}m\u{b}_field:x _measurement:y",
    "n\u{b}m\u{b}node:1 node_:2 node__:3",
    "n\u{b}=\u{b}=:=",
    "n\u{b}m@\u{b}a b c",
    "n\u{b}m\u{b}p50:1 p99=2 p99_:3",
    "n\u{b}m\u{b}p99_9=a p42:b p95",
];

/// Settings, and a body of line protocol or of scrapes.
const LISTEN_TEXT: [(u8, &str); 18] = [
    (
        0,
        "weather,location=us-midwest,season=summer temperature=82,humidity=71i 1465839830100400200\n",
    ),
    (
        2,
        "m d=1u,i=2i,f=-3.5e2,b=T,s=\"a \\\"b\\\"\nc d\",g=f 5\r\n# comment\n\nh,a=b x=1,y=-1",
    ),
    (
        4,
        "my\\ m\\,easure,tag\\ k\\=x=a\\,b f\\ ld=1\nm\\\\ f=1\nm,t=a\\\\,u f=2",
    ),
    (
        6,
        "m.x i=-1,d=-1,inc=18446744073709551615u,e=9223372036854775808i 1",
    ),
    (
        8,
        "m\nm,t f=1\nm,t= f=1\n,t=a f=1\nm f=\nm =1\nm f=1,\nm f=x\nm f=1 now\nm f=1 5 6",
    ),
    (10, "m s=\"without end\nm f=1"),
    (12, "#\"\nm s=\"\",t=\"\\\\\" -1\nm f=.5,g=1.,h=007i  3  \n"),
    (
        1,
        "# HELP http_requests_total Requests.\n# TYPE http_requests_total counter\nhttp_requests_total{method=\"post\",code=\"200\"} 1027 1395066363000\n",
    ),
    (1, "no_type{} 7\ntemperature -3.5e+1\nx NaN\ny +Inf\n"),
    (
        1,
        "# TYPE h histogram\nh_bucket{le=\"0.5\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n\u{b}# TYPE h histogram\nh_bucket{le=\"0.5\"} 2\nh_bucket{le=\"+Inf\"} 5\nh_sum 9\nh_count 5\n\u{b}# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 5\n",
    ),
    (
        9,
        "# TYPE s summary\ns{quantile=\"0.5\"} 4773\ns_sum 1.7e+07\ns_count 2693\n",
    ),
    (
        3,
        "# TYPE foo counter\n# UNIT foo seconds\nfoo_total 17.0 1520879607.789 # {trace_id=\"K\"} 0.67\nfoo_created 1520872607.123\n# EOF\n",
    ),
    (
        11,
        "# TYPE q gaugehistogram\nq_bucket{le=\"2\"} 1\nq_bucket{le=\"+Inf\"} 3\nq_gcount 3\nq_gsum -4\n# TYPE b info\nb_info{v=\"1\"} 1\n# TYPE p stateset\np{p=\"on\"} 1\n# EOF",
    ),
    (
        1,
        "{\"my.metric\",\"a.b\"=\"c\",job=\"x\"} 1\n# TYPE \"my \\\"c\" counter\n{\"my \\\"c\"} 2\nm{a=\"\\\\\\n\\\"\",} 3",
    ),
    (
        5,
        "m{job=\"own\",x=\"\"} 1 5\nfoo-bar 5\nfoo{a=b} 5\nfoo{a=\"b} 5\n",
    ),
    (
        1,
        "# TYPE h histogram\nh_bucket{a=\"1\",le=\"+Inf\"} 1\nh_bucket{a=\"2\",le=\"+Inf\"} 1\nh_bucket{a=\"3\",le=\"+Inf\"} 1\nh_bucket{a=\"4\",le=\"+Inf\"} 1\n\u{b}\u{b}# TYPE h histogram\nh_bucket{a=\"4\",le=\"+Inf\"} 1\n",
    ),
    (
        1,
        "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 0\n\u{b}# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1.8e19\n\u{b}# TYPE h histogram\nh_bucket{le=\"-2\"} 3\nh_bucket{le=\"-1\"} 2\nh_count 5\n",
    ),
    (3, "a 1\nb 2"),
];

/// Metrics of OTLP in JSON.
const OTLP_METRICS: [&str; 8] = [
    r#"{"resourceMetrics":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"pay"}}]},"scopeMetrics":[{"metrics":[{"name":"orders","unit":"{order}","sum":{"aggregationTemporality":1,"isMonotonic":true,"dataPoints":[{"asDouble":5.5,"timeUnixNano":"1760000001000000000","attributes":[{"key":"region","value":{"stringValue":"eu"}}]}]}}]}]}]}"#,
    r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"q","unit":"1","gauge":{"dataPoints":[{"asInt":"12","flags":1},{"asInt":"-3"},{}]}},{"name":"","gauge":{"dataPoints":[{"asInt":"1"}]}}]}]}]}"#,
    r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"c","sum":{"aggregationTemporality":2,"dataPoints":[{"asInt":"0"},{"asDouble":-1.5}]}},{"name":"t","sum":{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[{"asDouble":-1},{"asInt":"9223372036854775807"}]}},{"name":"n","sum":{"dataPoints":[{"asInt":"1"}]}}]}]}]}"#,
    r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"h","unit":"ms","histogram":{"aggregationTemporality":2,"dataPoints":[{"startTimeUnixNano":"1","timeUnixNano":"1760000001000000000","count":"3","sum":21.5,"bucketCounts":["1","2"],"explicitBounds":[10],"min":4,"max":12}]}}]}]}]}"#,
    r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"h","unit":"ms","histogram":{"aggregationTemporality":2,"dataPoints":[{"startTimeUnixNano":"1","timeUnixNano":"1760000002000000000","count":"7","sum":60,"bucketCounts":["3","4"],"explicitBounds":[10]},{"count":"4","bucketCounts":["3","4"],"explicitBounds":[10]}]}}]}]}]}"#,
    r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"e","exponentialHistogram":{"aggregationTemporality":2,"dataPoints":[{"startTimeUnixNano":"1","timeUnixNano":"1760000001000000000","count":"10","sum":9,"scale":3,"zeroCount":"1","positive":{"offset":-2,"bucketCounts":["2","1"]},"negative":{"offset":5,"bucketCounts":["6"]},"zeroThreshold":0.5}]}}]}]}]}"#,
    r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"w","summary":{"dataPoints":[{"count":"2","sum":3,"quantileValues":[{"quantile":0.5,"value":1.5},{"quantile":0.9,"value":2}]}]}}]}]}]}"#,
    r#"{"resourceMetrics":[{"resource":{"attributes":[{"key":"a","value":{"arrayValue":{"values":[{"intValue":"1"},{"kvlistValue":{"values":[{"key":"k","value":{"bytesValue":"AP8="}}]}}]}}},{"key":"host.name","value":{"boolValue":true}},{"key":"","value":{}}]}}]}"#,
];

/// Logs of OTLP in JSON.
const OTLP_LOGS: [&str; 4] = [
    r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"pay"}}]},"scopeLogs":[{"logRecords":[{"timeUnixNano":"1760000001000000000","severityNumber":10,"severityText":"Information","traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","body":{"stringValue":"paid"},"attributes":[{"key":"amount","value":{"doubleValue":637.704}}]}]}]}]}"#,
    r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"severityText":"warn","body":{"kvlistValue":{"values":[{"key":"k","value":{"stringValue":"v"}}]}}},{"severityNumber":24,"attributes":[{"key":"exception.type","value":{"stringValue":"E"}},{"key":"exception.message","value":{"stringValue":"broken"}},{"key":"exception.stacktrace","value":{"stringValue":"at f\nat g"}}]}]}]}]}"#,
    r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"observedTimeUnixNano":"5","body":{"arrayValue":{"values":[{"intValue":"-1"},{}]}}},{"eventName":"login"},{"attributes":[{"key":"a","value":{"bytesValue":"AQ=="}}]},{}]}]}]}"#,
    r#"{"resourceLogs":[]}"#,
];

/// Settings, and the bytes of a connection of syslog.
const SYSLOG: [(u8, &[u8]); 16] = [
    (2, b"<34>1 2003-10-11T22:14:15.003Z host.example.com su - ID47 - \xef\xbb\xbf'su root' failed for lonvick on /dev/pts/8\n"),
    (6, b"<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 app 8710 - - It's time\0<13>hello\r\n\n"),
    (2, b"<165>1 - h a p ID47 [x@1 iut=\"3\" s=\"a\\]b\\\"c\"][y@2 class=\"high\"] An event\n<165>1 - h a p m [x"),
    (10, b"<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8\nUse the BFG!\n"),
    (2, b"<165>Aug 24 05:34:00 CST 1987 mymachine myproc[10]: %% It's time\n<0>1990 Oct 22 10:52:01 TZ-6 scapegoat 10.1.2.3 sched[0]: That's All\n"),
    (2, b"<38>Oct 11 22:14:15 web1 sshd[4711]: Failed password for user root from 10.1.2.3 port 22 ssh2\n"),
    (2, b"<13>1 - host app 17 id - text of app\n"),
    (14, b"20 <13>Oct 11 22:14:15 5 <1>ab\n9 <14>1 - -1 x"),
    (0, b"6 <34>ab200 <13>too long for this\n5 <1>bc"),
    (1, b"7 <34>abc12345678901 <1>a"),
    (0, b"<13>a line that is longer than sixteen bytes\nshort\n17"),
    (5, b"1234567890 <34>the rest is missing"),
    (2, b"<192>a\n<1a>b\n<>c\n<13\n \t \n\xff\xfe\n<13>\n"),
    (2, b"<11>order 17 of 10.1.2.3:80 took 5 ms, id=3fa9c1d /var/log/x 'quoted' {\"a\":1} https://example.com/a?b=c bob@example.com\n"),
    (2, b"<11>C:\\Windows\\a.dll [fe80::1]:22 00:1b:44:11:3a:b7 550e8400-e29b-41d4-a716-446655440000 2026-12-01T15:04:01Z Thu Jul 28 07:19:41 2026 -1.5e-07 0x7f3a sda1\n"),
    (2, b"<189>29: *Mar  1 18:46:11.123 UTC: %SYS-5-CONFIG_I: Configured from console\n<189>2026-10-11T22:14:15+02:00 fw1 a: b\n"),
];

/// Large lists by steps. Those named after a fault that was fixed took seconds or gigabytes with it.
fn large() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let many = 60_000;
    vec![
        (
            "fault-tags-that-are-no-text",
            vec![
                step(kind::ITEMS, &[3, 12_000], &[1]),
                step(kind::DRAIN, &[10], &[2, 0]),
                step(kind::DRAIN, &[10], &[2, 1]),
            ],
        ),
        (
            "fault-pattern-of-one-letter",
            vec![
                step(kind::METRICS, &[4, many, 1], &[2, 0]),
                step(kind::SCAN, &[1_000], &[0, 0, 0, 0]),
            ],
        ),
        (
            "fault-long-history",
            vec![
                step(kind::LOAD, &[1, 50_000, 1], &[0]),
                step(kind::LOWER, &[], &[0]),
                step(kind::READ, &[], &[3, 0]),
                step(kind::PASS, &[900], &[]),
                step(kind::READ, &[], &[3, 0]),
                step(kind::SWEEP, &[], &[]),
                step(kind::READ, &[], &[0, 0]),
            ],
        ),
        (
            "fault-lowered-histories",
            vec![
                step(kind::LOAD, &[90, 2_500, 1], &[0]),
                step(kind::METRICS, &[100, 1, 1], &[2, 0]),
                step(kind::PASS, &[900], &[]),
                step(kind::LOWER, &[], &[0]),
                step(kind::SWEEP, &[], &[]),
            ],
        ),
        (
            "fault-endless-frame",
            vec![step(kind::LOAD, &[50_000, 1, 1], &[1])],
        ),
        ("many-metrics", {
            let metrics = step(kind::METRICS, &[many, 5, 1], &[2, 0]);
            let again = step(kind::METRICS, &[many, 5, 1], &[0, 0]);
            let (pass, sweep) = (step(kind::PASS, &[4_000], &[]), step(kind::SWEEP, &[], &[]));
            vec![
                metrics,
                again,
                pass,
                sweep,
                step(kind::DRAIN, &[many], &[0, 0]),
            ]
        }),
        (
            "one-metric-often",
            vec![step(kind::METRICS, &[many, 5, 1], &[2, 1]); 2],
        ),
        (
            "many-lines",
            vec![
                step(kind::LOAD, &[1, 1, many], &[0]),
                step(kind::DRAIN, &[10_000], &[1, 0]),
                step(kind::IDS, &[10_000], &[2, 2, 1]),
                step(kind::IDS, &[10_000], &[0, 2, 0]),
                step(kind::LOWER, &[], &[3]),
                step(kind::SWEEP, &[], &[]),
            ],
        ),
        (
            "many-tags",
            vec![
                step(kind::ITEMS, &[1_000, 8_000], &[0]),
                step(kind::ITEMS, &[1_000, 8_000], &[3]),
                step(kind::REQUEUE, &[many], &[3, 0, 0]),
                step(kind::DRAIN, &[10], &[0, 1]),
            ],
        ),
        (
            "columns",
            vec![
                step(kind::COLUMNS, &[9_000, 1], &[2, 0b11110, 1]),
                step(kind::COLUMNS, &[9_000, 1], &[2, 0b11110, 1]),
                step(kind::COLUMNS, &[9_000, 1], &[2, 0b11111, 6]),
                step(kind::COLUMNS, &[9_000, 1], &[2, 0b01101, 0]),
                step(kind::PASS, &[4_000], &[]),
                step(kind::SWEEP, &[], &[]),
                step(kind::DRAIN, &[10_000], &[0, 0]),
            ],
        ),
        (
            "columns-with-many-tags",
            vec![
                step(kind::COLUMNS, &[200, 2_000], &[0, 0b00001, 1]),
                step(kind::COLUMNS, &[200, 2_000], &[3, 0b00001, 0]),
                step(kind::DRAIN, &[10_000], &[0, 1]),
            ],
        ),
        (
            "aggregated",
            vec![
                step(kind::AGGREGATED, &[10_000, 1], &[2, 1, 0]),
                step(kind::AGGREGATED, &[10_000, 1], &[2, 3, 2]),
                step(kind::AGGREGATED, &[10_000, 1], &[2, 2, 1]),
                step(kind::PASS, &[4_000], &[]),
                step(kind::SWEEP, &[], &[]),
                step(kind::AGGREGATED, &[40_000, 8_000], &[3, 0, 0]),
                step(kind::DRAIN, &[10_000], &[0, 0]),
            ],
        ),
        (
            "large-objects",
            (0..4).map(|i| step(kind::JSON, &[8_000], &[i])).collect(),
        ),
        (
            "forget",
            vec![
                step(kind::LOAD, &[3, 10_000, 1], &[0]),
                step(kind::READ, &[], &[1, 0]),
                step(kind::READ, &[], &[2, 0]),
                step(kind::SCAN, &[5], &[4, 3, 0, 1]),
            ],
        ),
    ]
}

fn main() -> std::io::Result<()> {
    for (name, steps) in large() {
        write("large", name, &steps.concat())?;
    }
    for (i, script) in SCRIPTS.iter().enumerate() {
        let (saved, payloads) = play(script);
        write("codec", &format!("frames-{i}"), &codec::seed(0, &saved))?;
        write(
            "codec",
            &format!("payloads-{i}"),
            &codec::seed(1 | (4 * (i as u8 & 1)), &payloads),
        )?;
        let (_, more) = play(SCRIPTS[(i + 1) % SCRIPTS.len()]);
        write(
            "codec",
            &format!("both-{i}"),
            &codec::seed(2, &[saved.clone(), more].concat()),
        )?;
        write(
            "codec",
            &format!("as-payloads-{i}"),
            &codec::seed(1, &[saved, payloads].concat()),
        )?;
    }
    for (i, command) in ARGUMENTS.iter().enumerate() {
        write(
            "arguments",
            &format!("one-{i}"),
            &[&[i as u8 & 3], &*arguments(command)].concat(),
        )?;
    }
    let all: Vec<Vec<u8>> = ARGUMENTS.iter().map(|c| arguments(c)).collect();
    write("arguments", "all", &[vec![0], all.join(&COMMAND)].concat())?;
    write(
        "arguments",
        "all-small",
        &[vec![1], all.join(&COMMAND)].concat(),
    )?;
    for (i, text) in JSON.iter().enumerate() {
        write("json", &format!("text-{i}"), text.as_bytes())?;
    }
    for depth in [127, 128, 129] {
        write(
            "json",
            &format!("deep-{depth}"),
            ("[".repeat(depth) + &"]".repeat(depth)).as_bytes(),
        )?;
    }
    for (i, packet) in PACKETS.iter().enumerate() {
        write("listen_statsd", &format!("packet-{i}"), packet)?;
    }
    for (i, texts) in LINES.iter().enumerate() {
        let numbers = [
            [6.0, 2.0, 0.1, 1e300, -5.0],
            [f64::MAX, -0.0, 5e-324, 1e21, f64::NAN],
        ];
        write(
            "line",
            &format!("line-{i}"),
            &line::seed(numbers[i % 2], i as u64 % 7, texts),
        )?;
    }
    for (i, (settings, body)) in LISTEN_TEXT.iter().enumerate() {
        let bytes = [&[*settings], body.as_bytes()].concat();
        write("listen_text", &format!("body-{i}"), &bytes)?;
    }
    for (i, json) in OTLP_METRICS.iter().enumerate() {
        let request: ExportMetricsServiceRequest = serde_json::from_str(json).expect("metrics");
        write_otlp(0, &format!("metrics-{i}"), json, &request.encode_to_vec())?;
    }
    for (i, json) in OTLP_LOGS.iter().enumerate() {
        let request: ExportLogsServiceRequest = serde_json::from_str(json).expect("logs");
        write_otlp(1, &format!("logs-{i}"), json, &request.encode_to_vec())?;
    }
    let several = OTLP_METRICS[3..6].join("\u{b}\u{b}");
    write(
        "listen_otlp",
        "several",
        &[&[2], several.as_bytes()].concat(),
    )?;
    for (i, (settings, bytes)) in SYSLOG.iter().enumerate() {
        let bytes = [&[*settings], *bytes].concat();
        write("listen_syslog", &format!("connection-{i}"), &bytes)?;
    }
    // Any bytes are a sequence of steps.
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for i in 0..24 {
        let bytes: Vec<u8> = (0..150 + 20 * i)
            .map(|n| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                if n == 0 { i as u8 } else { (state >> 56) as u8 }
            })
            .collect();
        write("commands", &format!("random-{i}"), &bytes)?;
    }
    Ok(())
}

fn write_otlp(signal: u8, name: &str, json: &str, protobuf: &[u8]) -> std::io::Result<()> {
    let json = [&[signal | 2], json.as_bytes()].concat();
    write("listen_otlp", &format!("{name}-json"), &json)?;
    let protobuf = [&[signal], protobuf].concat();
    write("listen_otlp", &format!("{name}-protobuf"), &protobuf)
}

fn write(target: &str, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    std::fs::create_dir_all(&directory)?;
    std::fs::write(directory.join(name), bytes)
}

fn command(word: &str) -> Command {
    let full = format!("AGG.{word}");
    let found = Command::ALL.into_iter().find(|c| c.name() == full);
    found.unwrap_or_else(|| panic!("no command {full}"))
}

fn arguments(line: &str) -> Vec<u8> {
    let (word, rest) = line.split_once(' ').expect("a command and the node");
    let command = command(word);
    let which = Command::ALL
        .iter()
        .position(|c| *c == command)
        .expect("it is there") as u8;
    let args: Vec<&[u8]> = rest.split(' ').map(str::as_bytes).collect();
    [&[which], &*args.join(&ARGUMENT)].concat()
}

/// The frames of the node at the end, and all payloads until then.
fn play(script: &[&str]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut server = Server::new(Settings::default(), BASE);
    let mut node = Node::new(&server.settings, 1);
    let mut payloads = Vec::new();
    for line in script {
        let words: Vec<&str> = line.split(' ').collect();
        let mut keep = |server: &Server| {
            if let Propagation::Payload(payload) = server.effects.propagation() {
                payloads.push(payload.to_vec());
            }
        };
        match words[0] {
            "pass" => {
                server.pass(words[1].parse().expect("milliseconds"));
                while server.sweep(&mut node, true) {
                    keep(&server);
                }
            }
            "back" => server.now.wall_us -= words[1].parse::<u64>().expect("milliseconds") * 1000,
            word => {
                let args: Vec<&[u8]> = words[1..].iter().map(|w| w.as_bytes()).collect();
                server
                    .run(&mut node, command(word), &args)
                    .expect("a command of the script");
            }
        }
        keep(&server);
    }
    (frames(&node), payloads)
}

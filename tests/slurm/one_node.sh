#!/usr/bin/env bash
# A SLURM of one node, with accounting, for the tests. Root starts it.
#   bash tests/slurm/one_node.sh start FOLDER
#   bash tests/slurm/one_node.sh stop FOLDER
# Debian: slurm-wlm munge slurmdbd mariadb-server slurm-wlm-mysql-plugin. All daemons have sockets,
# ports, keys and state of their own in FOLDER. Outside it is one link, /etc/slurm/slurm.conf: the
# plugin's job steps drop SLURM_CONF. Where a slurm.conf is there already, nothing is started, unless
# it is such a link whose node was killed: of its daemons, by their pid files, none is alive.
set -euo pipefail
PATH="$PATH:/usr/sbin:/sbin"
CONF=/etc/slurm/slurm.conf
[ $# -eq 2 ] || { sed -n '2,4p' "$0" >&2; exit 2; }
mkdir -p "$2"
B=$(cd "$2" && pwd)

# until SECONDS COMMAND...: wait for a daemon; its logs are all that tells why it does not answer.
until_it() {
  local left=$1; shift
  until "$@" >/dev/null 2>&1; do
    left=$((left - 1))
    if [ "$left" -le 0 ]; then
      echo "one_node.sh: no answer to: $*" >&2
      tail -n 20 "$B"/log/*.log >&2
      exit 1
    fi
    sleep 1
  done
}

free_ports() {
  python3 -c 'import socket
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
print(*(s.getsockname()[1] for s in held))'
}

configure() {
  local host ctld_port d_port dbd_port sql_port
  host=$(hostname -s)
  read -r ctld_port d_port dbd_port sql_port < <(free_ports)
  echo "$sql_port" > "$B/sql.port"
  # More CPUs and memory than there are: the profile's numbers stay as they are, and jobs run.
  cat > "$B/slurm.conf" <<C
ClusterName=mapmilltest
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$ctld_port
SlurmdPort=$d_port
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$B/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=1,bf_interval=2
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=300
KillWait=2
OverTimeLimit=0
StateSaveLocation=$B/state
SlurmdSpoolDir=$B/spool
SlurmctldPidFile=$B/slurmctld.pid
SlurmdPidFile=$B/slurmd.pid
SlurmctldLogFile=$B/log/slurmctld.log
SlurmdLogFile=$B/log/slurmd.log
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=5
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$dbd_port
AccountingStoragePass=$B/munge.socket
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=16 RealMemory=64000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=$host MaxTime=INFINITE State=UP
C
  # Only what is a device gets its number into a job's environment.
  printf 'Name=gpu File=%s\n' /dev/null /dev/zero > "$B/gres.conf"
  cat > "$B/slurmdbd.conf" <<C
AuthType=auth/munge
AuthInfo=socket=$B/munge.socket
DbdHost=localhost
DbdPort=$dbd_port
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$sql_port
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
LogFile=$B/log/slurmdbd.log
PidFile=$B/slurmdbd.pid
C
  chmod 600 "$B/slurmdbd.conf"
}

start_munge() {
  (umask 077; head -c 1024 /dev/urandom > "$B/munge.key")
  # --force: the folder may be root's alone, as those of mktemp are.
  munged --force --socket "$B/munge.socket" --key-file "$B/munge.key" --pid-file "$B/munge.pid" \
    --log-file "$B/log/munged.log" --seed-file "$B/munge.seed" --num-threads 2
  until_it 20 munge --no-input --socket "$B/munge.socket"
}

start_mariadb() {
  mariadb-install-db --no-defaults --auth-root-authentication-method=normal --user=root \
    --datadir="$B/mysql" --skip-test-db >"$B/log/mariadb-install.log" 2>&1
  setsid mariadbd --no-defaults --user=root --datadir="$B/mysql" --socket="$B/mysql.socket" \
    --pid-file="$B/mariadb.pid" --bind-address=127.0.0.1 --port="$(cat "$B/sql.port")" \
    --innodb-buffer-pool-size=64M --innodb-lock-wait-timeout=900 \
    >"$B/log/mariadb.log" 2>&1 </dev/null &
  until_it 60 mariadb --no-defaults --socket="$B/mysql.socket" -e 'select 1'
  mariadb --no-defaults --socket="$B/mysql.socket" -e "create database slurm_acct_db;
    create user slurm@'%' identified by 'slurm'; grant all on slurm_acct_db.* to slurm@'%';"
}

# alive FOLDER: whether a daemon of the node in FOLDER runs, or the script that starts it. A number
# may be another process's by now: its name must fit. What awaits its burial (a zombie) is dead.
alive() {
  local each name pid
  for each in start:bash munge:munged mariadb:mariadbd slurmdbd slurmctld slurmd; do
    name=${each%%:*}
    [ -s "$1/$name.pid" ] || continue
    pid=$(cat "$1/$name.pid")
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "${each#*:}" ] || continue
    grep -q '^State:.Z' "/proc/$pid/status" 2>/dev/null || return 0
  done
  return 1
}

# take_over: remove the link that a killed node has left; another's slurm.conf stays.
take_over() {
  local old
  [ -L "$CONF" ] || return 0
  if [ ! -e "$CONF" ]; then rm "$CONF"; return 0; fi
  grep -qx 'ClusterName=mapmilltest' "$CONF" || return 0
  old=$(dirname "$(readlink -f "$CONF")")
  if alive "$old"; then
    echo "one_node.sh: a node runs in $old: bash tests/slurm/one_node.sh stop $old" >&2
  else
    echo "one_node.sh: the node in $old was killed: another takes its place" >&2
    rm "$CONF"
  fi
}

start() {
  [ "$(id -u)" -eq 0 ] || { echo "one_node.sh: only root starts it" >&2; exit 1; }
  take_over
  if [ -e "$CONF" ]; then
    echo "one_node.sh: $CONF is there: another SLURM, or one that was not stopped" >&2
    exit 1
  fi
  rm -rf "${B:?}"/*  # of a killed node
  mkdir -p "$B"/{state,spool,log}
  echo $$ > "$B/start.pid"
  chmod 755 "$B"
  chmod 700 "$B"/{state,spool}
  configure
  export SLURM_CONF="$B/slurm.conf"
  ln -s "$SLURM_CONF" "$CONF"
  start_munge
  start_mariadb
  slurmdbd
  until_it 20 sacctmgr -n list cluster
  sacctmgr -i add cluster mapmilltest >/dev/null
  sacctmgr -i add account forest Description=test Organization=test >/dev/null
  sacctmgr -i add user root Account=forest >/dev/null
  slurmctld
  slurmd
  until_it 60 sh -c 'sinfo -h -o %T | grep -q idle'
  rm "$B/start.pid"
  sinfo
}

stop() {
  local name pid
  for name in slurmd slurmctld slurmdbd mariadb munge; do
    [ -s "$B/$name.pid" ] || continue
    pid=$(cat "$B/$name.pid")
    kill "$pid" 2>/dev/null || continue
    for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -9 "$pid" 2>/dev/null || true
  done
  if [ "$(readlink "$CONF")" = "$B/slurm.conf" ]; then rm "$CONF"; fi
  rm -rf "$B"
}

case $1 in
  start | stop) "$1" ;;
  *) sed -n '2,4p' "$0" >&2; exit 2 ;;
esac

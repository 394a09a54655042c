# Runs a broker that can't outlive the test that started it, whatever ends the test, SIGKILL included.
#
#   sh leash.sh DIRECTORY COMMAND...
#
# The shell becomes COMMAND, so the test's child process is the broker itself. A watcher beside it reads orders from
# standard input, one a line, whose other end only the test holds:
#   stop    asks the broker to shut down cleanly (SIGTERM)
#   leave   ends the watcher; the broker has already ended, and its DIRECTORY is needed again
# End of input means the test is over: the broker is killed and DIRECTORY removed.
directory=$1
shift
exec 3<&0
(
    while read -r order <&3; do
        case $order in
            stop) kill -s TERM $$ 2>/dev/null ;;
            leave) exit 0 ;;
        esac
    done
    kill -s KILL $$ 2>/dev/null
    # The broker writes until it is gone; then its directory can be removed for good.
    tries=0
    while kill -s 0 $$ 2>/dev/null && [ $tries -lt 50 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
    rm -rf -- "$directory"
) &
exec "$@" </dev/null 3<&-

# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_flytt_global_optspecs
    string join \n home= json h/help V/version
end

function __fish_flytt_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_flytt_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_flytt_using_subcommand
    set -l cmd (__fish_flytt_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c flytt -n "__fish_flytt_needs_command" -l home -d 'The operator\'s directory [default: ~/.local/state/flytt]' -r -F
complete -c flytt -n "__fish_flytt_needs_command" -l json -d 'One JSON object a line, for programs'
complete -c flytt -n "__fish_flytt_needs_command" -s h -l help -d 'Print help'
complete -c flytt -n "__fish_flytt_needs_command" -s V -l version -d 'Print version'
complete -c flytt -n "__fish_flytt_needs_command" -f -a "init" -d 'Found a deployment: the operator\'s own certificate authority. Once'
complete -c flytt -n "__fish_flytt_needs_command" -f -a "host" -d 'The hosts of this deployment'
complete -c flytt -n "__fish_flytt_needs_command" -f -a "plan" -d 'What would be done, host by host; changes nothing'
complete -c flytt -n "__fish_flytt_needs_command" -f -a "check" -d 'What forbids or endangers this move; changes nothing'
complete -c flytt -n "__fish_flytt_needs_command" -f -a "probe" -d 'Measure what a host\'s storage sustains, in a file that leaves nothing behind'
complete -c flytt -n "__fish_flytt_needs_command" -f -a "start" -d 'Check, copy and follow; ends ready to cut over. The source keeps serving'
complete -c flytt -n "__fish_flytt_needs_command" -f -a "status" -d 'Where a migration stands, by its journal and by its hosts'
complete -c flytt -n "__fish_flytt_needs_command" -f -a "verify" -d 'Whether both sides hold the same, table by table, while the application writes on'
complete -c flytt -n "__fish_flytt_needs_command" -f -a "cutover" -d 'Hold, fence, catch up, promote behind a gate, surrender, open, release'
complete -c flytt -n "__fish_flytt_needs_command" -f -a "resume" -d 'Carry on, or take everything back, after a controller has died'
complete -c flytt -n "__fish_flytt_needs_command" -f -a "rollback" -d 'Before the point of no return: undo everything. After it: move back, with all that was written since'
complete -c flytt -n "__fish_flytt_needs_command" -f -a "recover" -d 'Break-glass: one side is lost for good between surrender and opening, and the other is to serve'
complete -c flytt -n "__fish_flytt_needs_command" -f -a "finish" -d 'After the move: remove everything that flytt left on any host'
complete -c flytt -n "__fish_flytt_needs_command" -f -a "doctor" -d 'What flytt has on a host, by the host\'s own record, and how to take it back there without a controller'
complete -c flytt -n "__fish_flytt_needs_command" -f -a "samples" -d 'What a host\'s disks, processors, memory and network are doing, as `iostat -mx` would show it; until Ctrl-C'
complete -c flytt -n "__fish_flytt_needs_command" -f -a "demo" -d 'The whole of it on this machine: throw-away servers, a workload, the move, what was measured'
complete -c flytt -n "__fish_flytt_needs_command" -f -a "bench" -d 'Measure on this machine: one JSON line per comparison'
complete -c flytt -n "__fish_flytt_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c flytt -n "__fish_flytt_using_subcommand init" -l home -d 'The operator\'s directory [default: ~/.local/state/flytt]' -r -F
complete -c flytt -n "__fish_flytt_using_subcommand init" -l json -d 'One JSON object a line, for programs'
complete -c flytt -n "__fish_flytt_using_subcommand init" -s h -l help -d 'Print help'
complete -c flytt -n "__fish_flytt_using_subcommand host; and not __fish_seen_subcommand_from add list remove help" -l home -d 'The operator\'s directory [default: ~/.local/state/flytt]' -r -F
complete -c flytt -n "__fish_flytt_using_subcommand host; and not __fish_seen_subcommand_from add list remove help" -l json -d 'One JSON object a line, for programs'
complete -c flytt -n "__fish_flytt_using_subcommand host; and not __fish_seen_subcommand_from add list remove help" -s h -l help -d 'Print help'
complete -c flytt -n "__fish_flytt_using_subcommand host; and not __fish_seen_subcommand_from add list remove help" -f -a "add" -d 'Enrol a host that runs `flytt-agent join`; reads its one-time code from standard input'
complete -c flytt -n "__fish_flytt_using_subcommand host; and not __fish_seen_subcommand_from add list remove help" -f -a "list" -d 'The hosts that are known'
complete -c flytt -n "__fish_flytt_using_subcommand host; and not __fish_seen_subcommand_from add list remove help" -f -a "remove" -d 'Forget a host'
complete -c flytt -n "__fish_flytt_using_subcommand host; and not __fish_seen_subcommand_from add list remove help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c flytt -n "__fish_flytt_using_subcommand host; and __fish_seen_subcommand_from add" -l home -d 'The operator\'s directory [default: ~/.local/state/flytt]' -r -F
complete -c flytt -n "__fish_flytt_using_subcommand host; and __fish_seen_subcommand_from add" -l json -d 'One JSON object a line, for programs'
complete -c flytt -n "__fish_flytt_using_subcommand host; and __fish_seen_subcommand_from add" -s h -l help -d 'Print help'
complete -c flytt -n "__fish_flytt_using_subcommand host; and __fish_seen_subcommand_from list" -l home -d 'The operator\'s directory [default: ~/.local/state/flytt]' -r -F
complete -c flytt -n "__fish_flytt_using_subcommand host; and __fish_seen_subcommand_from list" -l json -d 'One JSON object a line, for programs'
complete -c flytt -n "__fish_flytt_using_subcommand host; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c flytt -n "__fish_flytt_using_subcommand host; and __fish_seen_subcommand_from remove" -l home -d 'The operator\'s directory [default: ~/.local/state/flytt]' -r -F
complete -c flytt -n "__fish_flytt_using_subcommand host; and __fish_seen_subcommand_from remove" -l json -d 'One JSON object a line, for programs'
complete -c flytt -n "__fish_flytt_using_subcommand host; and __fish_seen_subcommand_from remove" -s h -l help -d 'Print help'
complete -c flytt -n "__fish_flytt_using_subcommand host; and __fish_seen_subcommand_from help" -f -a "add" -d 'Enrol a host that runs `flytt-agent join`; reads its one-time code from standard input'
complete -c flytt -n "__fish_flytt_using_subcommand host; and __fish_seen_subcommand_from help" -f -a "list" -d 'The hosts that are known'
complete -c flytt -n "__fish_flytt_using_subcommand host; and __fish_seen_subcommand_from help" -f -a "remove" -d 'Forget a host'
complete -c flytt -n "__fish_flytt_using_subcommand host; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c flytt -n "__fish_flytt_using_subcommand plan" -l home -d 'The operator\'s directory [default: ~/.local/state/flytt]' -r -F
complete -c flytt -n "__fish_flytt_using_subcommand plan" -l json -d 'One JSON object a line, for programs'
complete -c flytt -n "__fish_flytt_using_subcommand plan" -s h -l help -d 'Print help'
complete -c flytt -n "__fish_flytt_using_subcommand check" -l accept -d 'Take a gate that blocks as accepted, by its code; may be given several times' -r
complete -c flytt -n "__fish_flytt_using_subcommand check" -l home -d 'The operator\'s directory [default: ~/.local/state/flytt]' -r -F
complete -c flytt -n "__fish_flytt_using_subcommand check" -l json -d 'One JSON object a line, for programs'
complete -c flytt -n "__fish_flytt_using_subcommand check" -s h -l help -d 'Print help'
complete -c flytt -n "__fish_flytt_using_subcommand probe" -l size -d 'Of the file that is written [default: 1 GiB, or 5 % of what is free]' -r
complete -c flytt -n "__fish_flytt_using_subcommand probe" -l seconds -d 'Seconds of each job [default: 5]' -r
complete -c flytt -n "__fish_flytt_using_subcommand probe" -l job -d 'As in randwrite-4k-qd32, randrw-8k-qd16, read-1m-qd4, commit-8k; may be given several times [default: a usual set]' -r
complete -c flytt -n "__fish_flytt_using_subcommand probe" -l device -d 'A whole, empty, unused disk (as /dev/nvme1n1) instead of the data directory\'s file system. It is written over' -r
complete -c flytt -n "__fish_flytt_using_subcommand probe" -l again -d 'The same disk once more' -r
complete -c flytt -n "__fish_flytt_using_subcommand probe" -l home -d 'The operator\'s directory [default: ~/.local/state/flytt]' -r -F
complete -c flytt -n "__fish_flytt_using_subcommand probe" -l json -d 'One JSON object a line, for programs'
complete -c flytt -n "__fish_flytt_using_subcommand probe" -s h -l help -d 'Print help'
complete -c flytt -n "__fish_flytt_using_subcommand start" -l accept -d 'Go on although this gate does not hold, by its code; it goes on record. May be given several times' -r
complete -c flytt -n "__fish_flytt_using_subcommand start" -l home -d 'The operator\'s directory [default: ~/.local/state/flytt]' -r -F
complete -c flytt -n "__fish_flytt_using_subcommand start" -l json -d 'One JSON object a line, for programs'
complete -c flytt -n "__fish_flytt_using_subcommand start" -s h -l help -d 'Print help'
complete -c flytt -n "__fish_flytt_using_subcommand status" -l home -d 'The operator\'s directory [default: ~/.local/state/flytt]' -r -F
complete -c flytt -n "__fish_flytt_using_subcommand status" -l json -d 'One JSON object a line, for programs'
complete -c flytt -n "__fish_flytt_using_subcommand status" -s h -l help -d 'Print help'
complete -c flytt -n "__fish_flytt_using_subcommand verify" -l source -d 'Without a migration: the host whose data counts' -r
complete -c flytt -n "__fish_flytt_using_subcommand verify" -l target -d 'Without a migration: the host that is compared with it' -r
complete -c flytt -n "__fish_flytt_using_subcommand verify" -l table -d 'This table alone, as schema.table or database.schema.table; may be given several times' -r
complete -c flytt -n "__fish_flytt_using_subcommand verify" -l sample -d 'Look at so many percent of the parts of large tables only, as 5%; the result says that it was a sample' -r
complete -c flytt -n "__fish_flytt_using_subcommand verify" -l jobs -d 'Parts that are compared at the same time' -r
complete -c flytt -n "__fish_flytt_using_subcommand verify" -l home -d 'The operator\'s directory [default: ~/.local/state/flytt]' -r -F
complete -c flytt -n "__fish_flytt_using_subcommand verify" -l show-rows -d 'Show both images of the rows that differ'
complete -c flytt -n "__fish_flytt_using_subcommand verify" -l anew -d 'Look at everything again, also where an interrupted comparison of the last day could be carried on'
complete -c flytt -n "__fish_flytt_using_subcommand verify" -l full-speed -d 'Do not rest while the source answers slower than before'
complete -c flytt -n "__fish_flytt_using_subcommand verify" -l json -d 'One JSON object a line, for programs'
complete -c flytt -n "__fish_flytt_using_subcommand verify" -s h -l help -d 'Print help'
complete -c flytt -n "__fish_flytt_using_subcommand cutover" -l accept -d 'Go on although this gate does not hold, by its code; it goes on record. May be given several times' -r
complete -c flytt -n "__fish_flytt_using_subcommand cutover" -l home -d 'The operator\'s directory [default: ~/.local/state/flytt]' -r -F
complete -c flytt -n "__fish_flytt_using_subcommand cutover" -l json -d 'One JSON object a line, for programs'
complete -c flytt -n "__fish_flytt_using_subcommand cutover" -s h -l help -d 'Print help'
complete -c flytt -n "__fish_flytt_using_subcommand resume" -l accept -d 'Go on although this gate does not hold, by its code; it goes on record. May be given several times' -r
complete -c flytt -n "__fish_flytt_using_subcommand resume" -l home -d 'The operator\'s directory [default: ~/.local/state/flytt]' -r -F
complete -c flytt -n "__fish_flytt_using_subcommand resume" -l json -d 'One JSON object a line, for programs'
complete -c flytt -n "__fish_flytt_using_subcommand resume" -s h -l help -d 'Print help'
complete -c flytt -n "__fish_flytt_using_subcommand rollback" -l home -d 'The operator\'s directory [default: ~/.local/state/flytt]' -r -F
complete -c flytt -n "__fish_flytt_using_subcommand rollback" -l json -d 'One JSON object a line, for programs'
complete -c flytt -n "__fish_flytt_using_subcommand rollback" -s h -l help -d 'Print help'
complete -c flytt -n "__fish_flytt_using_subcommand recover" -l keep -d 'The host that is to serve. The other one is taken for lost, and asked for nothing any more' -r
complete -c flytt -n "__fish_flytt_using_subcommand recover" -l fingerprint -d 'As this command shows it without this; it fits no other host and no later state' -r
complete -c flytt -n "__fish_flytt_using_subcommand recover" -l reason -d 'Why, in your words; for the record' -r
complete -c flytt -n "__fish_flytt_using_subcommand recover" -l home -d 'The operator\'s directory [default: ~/.local/state/flytt]' -r -F
complete -c flytt -n "__fish_flytt_using_subcommand recover" -l json -d 'One JSON object a line, for programs'
complete -c flytt -n "__fish_flytt_using_subcommand recover" -s h -l help -d 'Print help'
complete -c flytt -n "__fish_flytt_using_subcommand finish" -l home -d 'The operator\'s directory [default: ~/.local/state/flytt]' -r -F
complete -c flytt -n "__fish_flytt_using_subcommand finish" -l revert-tuning -d 'Kernel settings, too; without this they stay as the move set them'
complete -c flytt -n "__fish_flytt_using_subcommand finish" -l json -d 'One JSON object a line, for programs'
complete -c flytt -n "__fish_flytt_using_subcommand finish" -s h -l help -d 'Print help'
complete -c flytt -n "__fish_flytt_using_subcommand doctor" -l home -d 'The operator\'s directory [default: ~/.local/state/flytt]' -r -F
complete -c flytt -n "__fish_flytt_using_subcommand doctor" -l json -d 'One JSON object a line, for programs'
complete -c flytt -n "__fish_flytt_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c flytt -n "__fish_flytt_using_subcommand samples" -l since -d 'How far back: 90s, 30m, 2h, 7d' -r
complete -c flytt -n "__fish_flytt_using_subcommand samples" -l resolution -d '1s, or 1m for the most of each minute, which reaches back a month [default: what suits the time]' -r
complete -c flytt -n "__fish_flytt_using_subcommand samples" -l home -d 'The operator\'s directory [default: ~/.local/state/flytt]' -r -F
complete -c flytt -n "__fish_flytt_using_subcommand samples" -l history -d 'What was, instead of what is'
complete -c flytt -n "__fish_flytt_using_subcommand samples" -l peak -d 'Only the most that the data directory\'s device was seen to do, and over which time'
complete -c flytt -n "__fish_flytt_using_subcommand samples" -l json -d 'One JSON object a line, for programs'
complete -c flytt -n "__fish_flytt_using_subcommand samples" -s h -l help -d 'Print help'
complete -c flytt -n "__fish_flytt_using_subcommand demo" -l engine -d 'What is moved' -r -f -a "postgres\t''
mariadb\t''
mysql\t''"
complete -c flytt -n "__fish_flytt_using_subcommand demo" -l writers -d 'Clients that write all the time' -r
complete -c flytt -n "__fish_flytt_using_subcommand demo" -l data-mib -d 'Initial data of the source, in MiB' -r
complete -c flytt -n "__fish_flytt_using_subcommand demo" -l way -d 'How the copy is made: into an empty data directory, or by a dump into a server that runs. MariaDB alone has the second' -r -f -a "physical\t'An empty data directory, for the source\'s files'
dump\t'A server that runs, empty and read-only, for its schema and rows'"
complete -c flytt -n "__fish_flytt_using_subcommand demo" -l seconds -d 'Seconds of load before and after the cutover' -r
complete -c flytt -n "__fish_flytt_using_subcommand demo" -l base -d 'Where the throw-away servers live. Short: a socket\'s path has at most 107 bytes' -r -F
complete -c flytt -n "__fish_flytt_using_subcommand demo" -l home -d 'The operator\'s directory [default: ~/.local/state/flytt]' -r -F
complete -c flytt -n "__fish_flytt_using_subcommand demo" -l json -d 'One JSON object a line, for programs'
complete -c flytt -n "__fish_flytt_using_subcommand demo" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c flytt -n "__fish_flytt_using_subcommand bench; and not __fish_seen_subcommand_from probe seed verify help" -l engine -d 'What is moved. Copies are compared with plain ones for PostgreSQL alone' -r -f -a "postgres\t''
mariadb\t''
mysql\t''"
complete -c flytt -n "__fish_flytt_using_subcommand bench; and not __fish_seen_subcommand_from probe seed verify help" -l cutovers -d 'Whole moves under load' -r
complete -c flytt -n "__fish_flytt_using_subcommand bench; and not __fish_seen_subcommand_from probe seed verify help" -l seeds -d 'Copies of each kind' -r
complete -c flytt -n "__fish_flytt_using_subcommand bench; and not __fish_seen_subcommand_from probe seed verify help" -l seed-mib -d 'Data that each of them copies' -r
complete -c flytt -n "__fish_flytt_using_subcommand bench; and not __fish_seen_subcommand_from probe seed verify help" -l rest -d 'Seconds for which the agents are watched at rest; 0 = not at all' -r
complete -c flytt -n "__fish_flytt_using_subcommand bench; and not __fish_seen_subcommand_from probe seed verify help" -l samples -d 'Seconds for which the agents are watched while each sends its samples; 0 = not at all' -r
complete -c flytt -n "__fish_flytt_using_subcommand bench; and not __fish_seen_subcommand_from probe seed verify help" -l base -d 'Where the throw-away servers live' -r -F
complete -c flytt -n "__fish_flytt_using_subcommand bench; and not __fish_seen_subcommand_from probe seed verify help" -l home -d 'The operator\'s directory [default: ~/.local/state/flytt]' -r -F
complete -c flytt -n "__fish_flytt_using_subcommand bench; and not __fish_seen_subcommand_from probe seed verify help" -l json -d 'One JSON object a line, for programs'
complete -c flytt -n "__fish_flytt_using_subcommand bench; and not __fish_seen_subcommand_from probe seed verify help" -s h -l help -d 'Print help'
complete -c flytt -n "__fish_flytt_using_subcommand bench; and not __fish_seen_subcommand_from probe seed verify help" -f -a "probe" -d 'The probe beside fio'
complete -c flytt -n "__fish_flytt_using_subcommand bench; and not __fish_seen_subcommand_from probe seed verify help" -f -a "seed" -d 'A dump beside the vendor\'s own pipeline and mydumper'
complete -c flytt -n "__fish_flytt_using_subcommand bench; and not __fish_seen_subcommand_from probe seed verify help" -f -a "verify" -d 'A comparison beside counting the rows, and beside pt-table-checksum'
complete -c flytt -n "__fish_flytt_using_subcommand bench; and not __fish_seen_subcommand_from probe seed verify help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c flytt -n "__fish_flytt_using_subcommand bench; and __fish_seen_subcommand_from probe" -l runs -d 'Runs of each job and kind' -r
complete -c flytt -n "__fish_flytt_using_subcommand bench; and __fish_seen_subcommand_from probe" -l seconds -d 'Of each run' -r
complete -c flytt -n "__fish_flytt_using_subcommand bench; and __fish_seen_subcommand_from probe" -l mib -r
complete -c flytt -n "__fish_flytt_using_subcommand bench; and __fish_seen_subcommand_from probe" -l job -d 'Only this one of the jobs, by the name of its lines; may be given several times [default: all]' -r -f -a "randwrite-4k-qd1\t''
randwrite-4k-qd8\t''
randwrite-4k-qd32\t''
commit-8k\t''
commit-8k-psync\t''"
complete -c flytt -n "__fish_flytt_using_subcommand bench; and __fish_seen_subcommand_from probe" -l base -d 'The directory whose disk is measured' -r -F
complete -c flytt -n "__fish_flytt_using_subcommand bench; and __fish_seen_subcommand_from probe" -l home -d 'The operator\'s directory [default: ~/.local/state/flytt]' -r -F
complete -c flytt -n "__fish_flytt_using_subcommand bench; and __fish_seen_subcommand_from probe" -l json -d 'One JSON object a line, for programs'
complete -c flytt -n "__fish_flytt_using_subcommand bench; and __fish_seen_subcommand_from probe" -s h -l help -d 'Print help'
complete -c flytt -n "__fish_flytt_using_subcommand bench; and __fish_seen_subcommand_from seed" -l engine -r -f -a "postgres\t''
mariadb\t''
mysql\t''"
complete -c flytt -n "__fish_flytt_using_subcommand bench; and __fish_seen_subcommand_from seed" -l runs -d 'Copies of each kind' -r
complete -c flytt -n "__fish_flytt_using_subcommand bench; and __fish_seen_subcommand_from seed" -l mib -d 'Of rows, as texts' -r
complete -c flytt -n "__fish_flytt_using_subcommand bench; and __fish_seen_subcommand_from seed" -l base -d 'Where the throw-away servers live' -r -F
complete -c flytt -n "__fish_flytt_using_subcommand bench; and __fish_seen_subcommand_from seed" -l home -d 'The operator\'s directory [default: ~/.local/state/flytt]' -r -F
complete -c flytt -n "__fish_flytt_using_subcommand bench; and __fish_seen_subcommand_from seed" -l no-mydumper -d 'Leave mydumper out, where it does not know the server'
complete -c flytt -n "__fish_flytt_using_subcommand bench; and __fish_seen_subcommand_from seed" -l json -d 'One JSON object a line, for programs'
complete -c flytt -n "__fish_flytt_using_subcommand bench; and __fish_seen_subcommand_from seed" -s h -l help -d 'Print help'
complete -c flytt -n "__fish_flytt_using_subcommand bench; and __fish_seen_subcommand_from verify" -l engine -r -f -a "postgres\t''
mariadb\t''
mysql\t''"
complete -c flytt -n "__fish_flytt_using_subcommand bench; and __fish_seen_subcommand_from verify" -l runs -d 'Comparisons of each kind' -r
complete -c flytt -n "__fish_flytt_using_subcommand bench; and __fish_seen_subcommand_from verify" -l rows -d 'Of a narrow table: four numbers each' -r
complete -c flytt -n "__fish_flytt_using_subcommand bench; and __fish_seen_subcommand_from verify" -l mib -d 'Of a table of rows of 1 KiB' -r
complete -c flytt -n "__fish_flytt_using_subcommand bench; and __fish_seen_subcommand_from verify" -l seconds -d 'Seconds for which writers are watched with and without a comparison; 0 = not at all' -r
complete -c flytt -n "__fish_flytt_using_subcommand bench; and __fish_seen_subcommand_from verify" -l base -d 'Where the throw-away servers live' -r -F
complete -c flytt -n "__fish_flytt_using_subcommand bench; and __fish_seen_subcommand_from verify" -l home -d 'The operator\'s directory [default: ~/.local/state/flytt]' -r -F
complete -c flytt -n "__fish_flytt_using_subcommand bench; and __fish_seen_subcommand_from verify" -l json -d 'One JSON object a line, for programs'
complete -c flytt -n "__fish_flytt_using_subcommand bench; and __fish_seen_subcommand_from verify" -s h -l help -d 'Print help'
complete -c flytt -n "__fish_flytt_using_subcommand bench; and __fish_seen_subcommand_from help" -f -a "probe" -d 'The probe beside fio'
complete -c flytt -n "__fish_flytt_using_subcommand bench; and __fish_seen_subcommand_from help" -f -a "seed" -d 'A dump beside the vendor\'s own pipeline and mydumper'
complete -c flytt -n "__fish_flytt_using_subcommand bench; and __fish_seen_subcommand_from help" -f -a "verify" -d 'A comparison beside counting the rows, and beside pt-table-checksum'
complete -c flytt -n "__fish_flytt_using_subcommand bench; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c flytt -n "__fish_flytt_using_subcommand help; and not __fish_seen_subcommand_from init host plan check probe start status verify cutover resume rollback recover finish doctor samples demo bench help" -f -a "init" -d 'Found a deployment: the operator\'s own certificate authority. Once'
complete -c flytt -n "__fish_flytt_using_subcommand help; and not __fish_seen_subcommand_from init host plan check probe start status verify cutover resume rollback recover finish doctor samples demo bench help" -f -a "host" -d 'The hosts of this deployment'
complete -c flytt -n "__fish_flytt_using_subcommand help; and not __fish_seen_subcommand_from init host plan check probe start status verify cutover resume rollback recover finish doctor samples demo bench help" -f -a "plan" -d 'What would be done, host by host; changes nothing'
complete -c flytt -n "__fish_flytt_using_subcommand help; and not __fish_seen_subcommand_from init host plan check probe start status verify cutover resume rollback recover finish doctor samples demo bench help" -f -a "check" -d 'What forbids or endangers this move; changes nothing'
complete -c flytt -n "__fish_flytt_using_subcommand help; and not __fish_seen_subcommand_from init host plan check probe start status verify cutover resume rollback recover finish doctor samples demo bench help" -f -a "probe" -d 'Measure what a host\'s storage sustains, in a file that leaves nothing behind'
complete -c flytt -n "__fish_flytt_using_subcommand help; and not __fish_seen_subcommand_from init host plan check probe start status verify cutover resume rollback recover finish doctor samples demo bench help" -f -a "start" -d 'Check, copy and follow; ends ready to cut over. The source keeps serving'
complete -c flytt -n "__fish_flytt_using_subcommand help; and not __fish_seen_subcommand_from init host plan check probe start status verify cutover resume rollback recover finish doctor samples demo bench help" -f -a "status" -d 'Where a migration stands, by its journal and by its hosts'
complete -c flytt -n "__fish_flytt_using_subcommand help; and not __fish_seen_subcommand_from init host plan check probe start status verify cutover resume rollback recover finish doctor samples demo bench help" -f -a "verify" -d 'Whether both sides hold the same, table by table, while the application writes on'
complete -c flytt -n "__fish_flytt_using_subcommand help; and not __fish_seen_subcommand_from init host plan check probe start status verify cutover resume rollback recover finish doctor samples demo bench help" -f -a "cutover" -d 'Hold, fence, catch up, promote behind a gate, surrender, open, release'
complete -c flytt -n "__fish_flytt_using_subcommand help; and not __fish_seen_subcommand_from init host plan check probe start status verify cutover resume rollback recover finish doctor samples demo bench help" -f -a "resume" -d 'Carry on, or take everything back, after a controller has died'
complete -c flytt -n "__fish_flytt_using_subcommand help; and not __fish_seen_subcommand_from init host plan check probe start status verify cutover resume rollback recover finish doctor samples demo bench help" -f -a "rollback" -d 'Before the point of no return: undo everything. After it: move back, with all that was written since'
complete -c flytt -n "__fish_flytt_using_subcommand help; and not __fish_seen_subcommand_from init host plan check probe start status verify cutover resume rollback recover finish doctor samples demo bench help" -f -a "recover" -d 'Break-glass: one side is lost for good between surrender and opening, and the other is to serve'
complete -c flytt -n "__fish_flytt_using_subcommand help; and not __fish_seen_subcommand_from init host plan check probe start status verify cutover resume rollback recover finish doctor samples demo bench help" -f -a "finish" -d 'After the move: remove everything that flytt left on any host'
complete -c flytt -n "__fish_flytt_using_subcommand help; and not __fish_seen_subcommand_from init host plan check probe start status verify cutover resume rollback recover finish doctor samples demo bench help" -f -a "doctor" -d 'What flytt has on a host, by the host\'s own record, and how to take it back there without a controller'
complete -c flytt -n "__fish_flytt_using_subcommand help; and not __fish_seen_subcommand_from init host plan check probe start status verify cutover resume rollback recover finish doctor samples demo bench help" -f -a "samples" -d 'What a host\'s disks, processors, memory and network are doing, as `iostat -mx` would show it; until Ctrl-C'
complete -c flytt -n "__fish_flytt_using_subcommand help; and not __fish_seen_subcommand_from init host plan check probe start status verify cutover resume rollback recover finish doctor samples demo bench help" -f -a "demo" -d 'The whole of it on this machine: throw-away servers, a workload, the move, what was measured'
complete -c flytt -n "__fish_flytt_using_subcommand help; and not __fish_seen_subcommand_from init host plan check probe start status verify cutover resume rollback recover finish doctor samples demo bench help" -f -a "bench" -d 'Measure on this machine: one JSON line per comparison'
complete -c flytt -n "__fish_flytt_using_subcommand help; and not __fish_seen_subcommand_from init host plan check probe start status verify cutover resume rollback recover finish doctor samples demo bench help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c flytt -n "__fish_flytt_using_subcommand help; and __fish_seen_subcommand_from host" -f -a "add" -d 'Enrol a host that runs `flytt-agent join`; reads its one-time code from standard input'
complete -c flytt -n "__fish_flytt_using_subcommand help; and __fish_seen_subcommand_from host" -f -a "list" -d 'The hosts that are known'
complete -c flytt -n "__fish_flytt_using_subcommand help; and __fish_seen_subcommand_from host" -f -a "remove" -d 'Forget a host'
complete -c flytt -n "__fish_flytt_using_subcommand help; and __fish_seen_subcommand_from bench" -f -a "probe" -d 'The probe beside fio'
complete -c flytt -n "__fish_flytt_using_subcommand help; and __fish_seen_subcommand_from bench" -f -a "seed" -d 'A dump beside the vendor\'s own pipeline and mydumper'
complete -c flytt -n "__fish_flytt_using_subcommand help; and __fish_seen_subcommand_from bench" -f -a "verify" -d 'A comparison beside counting the rows, and beside pt-table-checksum'

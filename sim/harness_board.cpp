// A board without the board: clock, serial line and host around the compiled core (`cxxrtl_core`) and front (`cxxrtl_front`) of a device.
// The line is the two pins. The host's bits last as long as the host's rate says, not the device's.

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <vector>

namespace {

// Times on the line: cycles of the device's clock, in 2**-32ths.
using Time = int64_t;
constexpr Time CYCLE = Time(1) << 32;

// What crosses between core and front in a cycle.
struct ToCore {
    bool valid, ready;
    uint8_t payload;
    bool operator==(const ToCore &o) const { return valid == o.valid && ready == o.ready && payload == o.payload; }
};
struct FromCore {
    bool ready, valid, rate, good, bad, working;
    uint8_t payload;
    uint16_t divisor;
    bool operator==(const FromCore &o) const {
        return ready == o.ready && valid == o.valid && rate == o.rate && good == o.good && bad == o.bad && working == o.working &&
               payload == o.payload && divisor == o.divisor;
    }
};

// The core, which is not computed while it can only repeat itself. Between two bytes, which is most of the time, it waits, but for the
// adder of its counters that goes round them, 32 cycles a round. When every register did the same in a round as in the round before, with
// the same inputs all the time, then the state at the end of both is the same, and so will be every further round until an input changes.
class Core {
    static constexpr size_t ROUND = 32;

    struct Update {
        uint32_t *now, *next;
        std::array<uint32_t, 8> value;
        size_t chunks;
        bool operator==(const Update &o) const { return now == o.now && chunks == o.chunks && value == o.value; }
    };

    // Collects what a commit changes. Memories and registers of more than 256 bits are not collected: a cycle that changes one counts as new.
    struct Watcher {
        std::vector<Update> &updates;
        bool more = false;
        void on_update(size_t chunks, const cxxrtl::chunk_t *now, const cxxrtl::chunk_t *next) {
            Update update{const_cast<uint32_t *>(now), const_cast<uint32_t *>(next), {}, chunks};
            if (chunks > update.value.size()) {
                more = true;
                return;
            }
            std::memcpy(update.value.data(), next, chunks * sizeof *next);
            updates.push_back(update);
        }
        void on_update(size_t, const cxxrtl::chunk_t *, const cxxrtl::chunk_t *, size_t) { more = true; }
    };

    cxxrtl_core::p_top top;
    ToCore given{};
    FromCore got{};
    std::array<std::vector<Update>, ROUND> round;    // what each of the last cycles changed
    size_t at = 0;                                   // in the round: the cycle to come
    size_t repeated = 0;                             // cycles that changed the same as those a round before, with the same inputs and outputs
    size_t skipped = 0;                              // of the round, when nothing is computed

public:
    uint64_t computed = 0;

    FromCore cycle(const ToCore &input) {
        if (repeated >= ROUND) {
            if (input == given) {
                skipped = (skipped + 1) % ROUND;
                return got;
            }
            wake();
        }
        return compute(input);
    }

    void reset() {
        wake();
        top.p_rst.set<uint8_t>(1);
        compute(ToCore{});
        top.p_rst.set<uint8_t>(0);
        repeated = 0;
    }

private:
    // Do what the skipped cycles would have done to the registers.
    void wake() {
        for (; skipped; skipped--, at = (at + 1) % ROUND)
            for (const Update &update : round[at])
                for (size_t i = 0; i < update.chunks; i++)
                    update.now[i] = update.next[i] = update.value[i];
        repeated = 0;
    }

    // A design without combinational feedback (the build insists) needs one evaluation a cycle: it settles the logic before the rising
    // edge, where the outputs are read, and computes the registers after it. The falling edge changes nothing.
    FromCore compute(const ToCore &input) {
        top.p_rx____valid.set<uint8_t>(input.valid);
        top.p_rx____payload.set<uint8_t>(input.payload);
        top.p_tx____ready.set<uint8_t>(input.ready);
        top.p_clk.set<uint8_t>(1);
        top.eval();
        const FromCore output{
            top.p_rx____ready.get<bool>(), top.p_tx____valid.get<bool>(), top.p_rates____valid.get<bool>(),
            top.p_good__frame.get<bool>(), top.p_bad__frame.get<bool>(), top.p_working.get<bool>(),
            top.p_tx____payload.get<uint8_t>(), top.p_rates____payload.get<uint16_t>(),
        };
        static thread_local std::vector<Update> updates;
        updates.clear();
        Watcher watcher{updates};
        top.commit(watcher);
        top.p_clk.set<uint8_t>(0);
        top.prev_p_clk.set<uint8_t>(0);
        computed++;
        const bool same = !watcher.more && input == given && output == got && updates == round[at];
        repeated = same ? repeated + 1 : 0;
        round[at].swap(updates);
        at = (at + 1) % ROUND;
        given = input;
        got = output;
        return output;
    }
};

struct Sent {
    uint8_t byte;
    Time bit;    // how long the host made each bit when it sent this
};

struct Board {
    Core core;
    cxxrtl_front::p_top front;
    FromCore from_core{};

    std::deque<Sent> to_device;
    Time bit = CYCLE;         // of the host
    unsigned sending = 1;     // bits still to be put on the line, the lowest first, above them a 1
    Time until_sent = 0;      // until the bit on the line is over
    Time sent_bit = CYCLE;

    unsigned receiving = 0;   // bits of a byte that were not sampled yet
    Time until_sample = 0;
    uint16_t sampled = 0;
    bool line_out = true;     // as the host saw it in the last cycle

    uint64_t cycles = 0;
    uint64_t quiet = 0;       // cycles since anything moved
    uint64_t framing_errors = 0;
    bool working = false;

    // One clock cycle. Returns the byte that the host has received, or -1.
    int cycle() {
        front.p_rx__pin.set<uint8_t>(host_sends());
        front.p_clk.set<uint8_t>(1);
        give(from_core);
        front.eval();
        // These come from registers, and so are right, whatever the front was given.
        const bool valid = front.p_received____valid.get<bool>();
        const ToCore to_core{valid, front.p_transmit____ready.get<bool>(),
                             valid ? front.p_received____payload.get<uint8_t>() : uint8_t(0)};
        const FromCore now = core.cycle(to_core);
        if (!(now == from_core)) {
            from_core = now;
            give(from_core);
            front.eval();
        }
        working = now.working;
        const bool pin = front.p_tx__pin.get<bool>();
        front.commit();
        front.p_clk.set<uint8_t>(0);
        front.prev_p_clk.set<uint8_t>(0);
        cycles++;
        const int byte = host_receives(pin);
        quiet = receiving || sending != 1 || !to_device.empty() || !pin || working ? 0 : quiet + 1;
        return byte;
    }

    // The line stays idle for as long as two bytes at the old rate: no host and no bridge is faster than that, and the device may still be
    // at the stop bit of its acknowledgement.
    void set_bit(Time length) {
        if (sending == 1 && to_device.empty())
            until_sent = 20 * bit;
        bit = length;
        receiving = 0;
    }

    void reset() {
        core.reset();
        from_core = FromCore{};
        front.p_rst.set<uint8_t>(1);
        cycle();
        front.p_rst.set<uint8_t>(0);
    }

private:
    void give(const FromCore &signals) {
        front.p_received____ready.set<uint8_t>(signals.ready);
        front.p_transmit____valid.set<uint8_t>(signals.valid);
        front.p_transmit____payload.set<uint8_t>(signals.payload);
        front.p_rates____valid.set<uint8_t>(signals.rate);
        front.p_rates____payload.set<uint16_t>(signals.divisor);
        front.p_good__frame.set<uint8_t>(signals.good);
        front.p_bad__frame.set<uint8_t>(signals.bad);
        front.p_working.set<uint8_t>(signals.working);
    }

    // Level of the line to the device: bytes follow each other without a gap.
    bool host_sends() {
        if (until_sent > 0) {
            until_sent -= CYCLE;
            if (until_sent > 0)
                return sending & 1;
        }
        if (sending > 1)
            sending >>= 1;
        if (sending == 1) {
            if (to_device.empty()) {
                until_sent = 0;
                return true;
            }
            const Sent next = to_device.front();
            to_device.pop_front();
            sending = 1u << 10 | 1u << 9 | unsigned(next.byte) << 1;
            sent_bit = next.bit;
        }
        until_sent += sent_bit;
        return sending & 1;
    }

    // The host's receiver: samples in the middles of its own bits, from the edge of the start bit on.
    int host_receives(bool pin) {
        const bool fell = line_out && !pin;
        line_out = pin;
        if (!receiving) {
            if (fell) {
                receiving = 10;
                until_sample = bit / 2;
            }
            return -1;
        }
        until_sample -= CYCLE;
        if (until_sample > 0)
            return -1;
        until_sample += bit;
        sampled = uint16_t(sampled >> 1 | pin << 9);
        if (receiving == 10 && pin) {    // that was no start bit
            receiving = 0;
            return -1;
        }
        if (--receiving)
            return -1;
        if (!pin)
            framing_errors++;    // the driver hands the byte on all the same
        return uint8_t(sampled >> 1);
    }
};

}

extern "C" {

Board *board_open() {
    Board *board = new Board;
    board->reset();
    return board;
}

void board_close(Board *board) { delete board; }

// The reset button. Memories keep what they hold.
void board_reset(Board *board) { board->reset(); }

// How long a bit of the host lasts, in 2**-32ths of a cycle. Bytes written before keep the length they had.
void board_set_bit(Board *board, int64_t bit) { board->set_bit(bit); }

void board_write(Board *board, const uint8_t *data, size_t size) {
    for (size_t i = 0; i < size; i++)
        board->to_device.push_back({data[i], board->bit});
    board->quiet = 0;
}

// Bytes written that are not on the line yet.
size_t board_backlog(const Board *board) { return board->to_device.size(); }

// Runs until the host has received a zero byte, `capacity` bytes came out, `cycles` went by, or nothing has moved for `quiet` cycles.
// Returns the bytes written to `data`.
size_t board_read(Board *board, uint8_t *data, size_t capacity, uint64_t cycles, uint64_t quiet) {
    size_t size = 0;
    while (size < capacity && cycles-- && board->quiet < quiet) {
        const int byte = board->cycle();
        if (byte < 0)
            continue;
        data[size++] = uint8_t(byte);
        if (byte == 0)
            break;
    }
    return size;
}

// Cycles since anything moved.
uint64_t board_quiet(const Board *board) { return board->quiet; }

uint64_t board_cycles(const Board *board) { return board->cycles; }

// Cycles in which the core was computed: the others were repetitions.
uint64_t board_computed(const Board *board) { return board->core.computed; }

// Bits 0 to 3: alive, error, link, working.
unsigned board_leds(const Board *board) { return board->front.p_leds.get<unsigned>(); }

// The level of the device's output, for tests that compare it cycle by cycle with a simulation of the whole device.
int board_pin(const Board *board) { return board->line_out; }

}

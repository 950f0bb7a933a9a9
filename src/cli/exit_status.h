#pragma once
// What `sluice` exits with (docs/cluster.md, "Exit status"). A foreground `run` passes on the pipeline's instead.

namespace sluice::cli {

inline constexpr int kSuccess = 0;
inline constexpr int kFailed = 1;
inline constexpr int kUsage = 2;
inline constexpr int kNotFound = 3;
inline constexpr int kRefusedAccess = 4;  // key, certificate, role
inline constexpr int kNoNode = 5;         // none was reached
inline constexpr int kTimedOut = 6;
inline constexpr int kConflict = 7;
inline constexpr int kWrongVersion = 8;

}  // namespace sluice::cli
